"""A release: its images, migrations, record, and its way to the servers.

Nothing here may know the other commands.
"""
