"""A release: its images, migrations, record, and its way to the servers one at a time.

Nothing here may know the other commands.
"""
