"""What Django answers to errors: a page for browsers, JSON for other clients.

The page is `404.html` and so on where an app or `templates/` has it, else `templates/error.html`.
"""

import re
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import select_template
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext
from django.views import csrf
from django.views.decorators.csrf import requires_csrf_token

from ops.database.outage import outage_behind

RETRY_AFTER_SECONDS = 5
TYPES = ["application/json", "text/html"]
LINES = (Path(__file__).resolve().parents[1] / "templates" / "errors.conf").read_text(
    encoding="utf-8"
)
LIMITED = dict(re.findall(r'^(\d+) "(.*)";$', LINES, re.MULTILINE))
WORDS = {status: words.replace("$upload_limit", "") for status, words in LIMITED.items()}
STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400 to what Django itself refuses, such as a wrong Host.

    Other statuses: 413 to a body too large, 503 if the database is down.
    """
    if isinstance(exception, RequestDataTooBig):
        megabytes = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 2**20
        limit = f": the limit without files is {megabytes} MB"
        return error(request, 413, LIMITED["413"].replace("$upload_limit", limit))
    if outage_behind(exception):
        return database_unavailable(request)
    return error(request, 400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    return error(request, 403, exception=str(exception))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer 403 to a form without a valid token; with DEBUG the page says why."""
    if settings.DEBUG and wants_page(request):
        return csrf.csrf_failure(request, reason)
    detail = "This form is no longer valid. Allow cookies, reload the page, and send it again."
    return error(request, 403, detail, template="403_csrf.html")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    return error(request, 404, request_path=request.path)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500, or 503 if the database is down; the log has the exception.

    Of a view's outage DatabaseOutageMiddleware knows; this is for those in other middleware.
    """
    if outage_behind(sys.exception()):
        return database_unavailable(request)
    return error(request, 500)


def database_unavailable(request: HttpRequest) -> HttpResponse:
    """Answer 503 with Retry-After."""
    response = error(request, 503, "The database is not available. Please try again shortly.")
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    response["Cache-Control"] = "no-store"
    return response


@requires_csrf_token
def error(
    request: HttpRequest, status: int, detail: str = "", template: str = "", **context: Any
) -> HttpResponse:
    """Return the answer to an error.

    Args:
        request: decides between page and JSON, by its Accept header and path.
        status: the answer's status.
        detail: what to say, in English; by default the status' line of templates/errors.conf. JSON
            has it in the client's language; templates/error.html is English, as other servers
            send it too.
        template: a page for this error alone; by default the status', such as 404.html.
        context: what such a page may also show.
    """
    detail = detail or WORDS[str(status)]
    response: HttpResponse
    if wants_page(request):
        page = select_template([template or f"{status}.html", "error.html"])
        # A context processor may need what is down: these are rendered without.
        processed = None if status in (400, 500, 503) else request
        text = page.render({"status": status, "detail": detail, **context}, processed)
        response = HttpResponse(text, status=status)
        allow_styles(response)
    else:
        response = JsonResponse({"detail": gettext(detail)}, status=status)
    patch_vary_headers(response, ["Accept"])
    return response


def wants_page(request: HttpRequest) -> bool:
    """Return whether the client is a browser: it prefers HTML to JSON, outside of /api/."""
    is_api = request.path.startswith("/api/")
    return not is_api and request.get_preferred_type(TYPES) == "text/html"


def allow_styles(response: HttpResponse) -> None:
    """Let the page's own <style> pass the Content-Security-Policy, by its hash."""
    hashes = (b64encode(sha256(style).digest()) for style in STYLE.findall(response.content))
    sources = [f"'sha256-{value.decode()}'" for value in hashes]
    # https://django-csp.readthedocs.io/en/latest/decorators.html#csp-update
    response._csp_update = {"style-src": sources}
