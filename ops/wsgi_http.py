"""The WSGI application behind HTTP: what nginx says of the client, and responses with an end.

https://peps.python.org/pep-3333/
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finder
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.utils.module_loading import import_string

from ops.logs.requests import NGINX_LOGS

# nginx sends these as headers, whatever a client sent by the same name (nginx/forward.conf).
VARIABLES = {
    "HTTP_NGINX_REMOTE_ADDR": "REMOTE_ADDR",
    "HTTP_NGINX_SERVER_PORT": "SERVER_PORT",
}
READ_BYTES = 65536
WITHOUT_BODY = ("1", "204", "304")

django = import_string(settings.WSGI_APPLICATION)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer a request of nginx's.

    Without nginx both variables are empty: gunicorn would take the port from the client's Host.
    """
    for header, variable in VARIABLES.items():
        environ[variable] = environ.pop(header, "")
    environ[NGINX_LOGS] = bool(environ["REMOTE_ADDR"])
    return direct(environ, start_response)


def direct(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer a request so that its client can detect a truncated response."""
    if "uwsgi.version" not in environ:
        # gunicorn sends chunks by itself.
        return read_rest(environ, django(environ, start_response))
    # It would send a file of unknown length past the chunks.
    environ.pop("wsgi.file_wrapper", None)
    chunked = False

    def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        nonlocal chunked
        chunked = (
            environ["SERVER_PROTOCOL"] == "HTTP/1.1"
            and environ["REQUEST_METHOD"] != "HEAD"
            and not status.startswith(WITHOUT_BODY)
            and "content-length" not in {name.lower() for name, _ in headers}
        )
        more = [("Transfer-Encoding", "chunked")] if chunked else []
        return start_response(status, [*headers, *more], *error)

    answer = read_rest(environ, django(environ, start))
    return Chunks(answer) if chunked else answer


def embedded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer a request under `make run`: no nginx has the static files that uWSGI does not know."""
    # Django remembers which apps have a folder `static`, and that may be new.
    get_finder.cache_clear()
    return StaticFilesHandler(direct)(environ, start_response)


def read_rest(environ: dict[str, Any], answer: Iterable[bytes]) -> Iterable[bytes]:
    """Read what the application left of the request's body, and return its answer.

    A server that closes its socket before nginx has written all of a body loses the response.
    """
    with suppress(OSError):
        while environ["wsgi.input"].read(READ_BYTES):
            pass
    return answer


class Chunks:
    """A response in chunks; the last one is missing if the application fails or is killed.

    https://www.rfc-editor.org/rfc/rfc9112#section-7.1
    """

    def __init__(self, answer: Iterable[bytes]) -> None:
        """Keep the application's answer."""
        self.answer = answer

    def __iter__(self) -> Iterator[bytes]:
        """Yield each piece as a chunk, and the last chunk at the end."""
        for piece in self.answer:
            if piece:
                yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"

    def close(self) -> None:
        """Close the answer, which ends the request for Django."""
        if hasattr(self.answer, "close"):
            self.answer.close()
