"""Message brokers that Celery has no safe transport for.

Nothing here may know a task: only messages are carried.
"""
