"""The commands that run on the host, and what they are made of; no image and no bundle has them.

Nothing that the site runs may be here, and nothing here may need Django.
"""
