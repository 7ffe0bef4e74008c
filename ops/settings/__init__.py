"""Values of Django's settings that the stack decides; mysite/settings takes them.

Nothing here may import Django: settings are read before it is set up.
"""
