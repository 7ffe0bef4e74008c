"""Settings in layers: `base` is what all share; local, dev, production and test state what differs.

DJANGO_SETTINGS_MODULE picks the layer. Every value that an operator may set is read from the
environment by its declaration in `ops.environment.contract`.
"""
