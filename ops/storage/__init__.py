"""Where static files and uploads are kept: this machine's folders, or a bucket.

Nothing here may know what is in them.
"""
