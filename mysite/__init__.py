"""The Django project: settings in layers, the environment they are read from, URLs and WSGI."""
