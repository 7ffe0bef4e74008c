"""The WSGI application that gunicorn loads.

nginx speaks HTTP to it, which has no place for the variables that it gives uWSGI: they come as
headers (nginx/forward-gunicorn.conf), which nginx sets itself, whatever a client sent by that name.
"""

from collections.abc import Iterable
from typing import Any

from mysite.wsgi import application as django

VARIABLES = {
    "HTTP_NGINX_REMOTE_ADDR": "REMOTE_ADDR",
    "HTTP_NGINX_SERVER_PORT": "SERVER_PORT",
}


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer a request whose variables are put back in their places.

    Without nginx they are empty: gunicorn would take the port from the client's Host header.
    """
    for header, variable in VARIABLES.items():
        environ[variable] = environ.pop(header, "")
    return django(environ, start_response)
