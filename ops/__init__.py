"""What the stack needs of Django, as one app.

Nothing here may import the project: it is given by settings, and apps add to it by `ops.registry`.
"""

# The stack's, not the project's. CHANGELOG.md says what each version brings.
VERSION = "1.0.0"
