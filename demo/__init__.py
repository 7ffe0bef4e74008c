"""An example app: uploads with thumbnails, and a visit counter. `remove_demo` removes it.

It may use only what any other app could.
"""
