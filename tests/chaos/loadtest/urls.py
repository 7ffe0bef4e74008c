"""The URLs of the site and of the load tests."""

import time
from collections.abc import Iterator
from tempfile import TemporaryFile

import redis
from django.conf import settings
from django.db import IntegrityError
from django.http import FileResponse, HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from loadtest.models import Order

from mysite.urls import urlpatterns as site_urls
from ops import environment
from ops.models import ParkedTask
from ops.redis_client import AskOnce
from ops.settings.backing import ANSWER_SECONDS, CONNECT_SECONDS

counter = redis.Redis.from_url(
    environment.redis_url(environment.load(), environment.COUNTER),
    socket_connect_timeout=CONNECT_SECONDS,
    socket_timeout=ANSWER_SECONDS,
    retry=AskOnce(),
)


def slow(request: HttpRequest, milliseconds: int) -> JsonResponse:
    """Answer after this many milliseconds."""
    time.sleep(milliseconds / 1000)
    return JsonResponse({"slept": milliseconds})


@csrf_exempt
def hang(request: HttpRequest) -> JsonResponse:
    """Never answer, like a view that waits for a service without a timeout."""
    time.sleep(3600)
    return JsonResponse({})


def parked(request: HttpRequest) -> JsonResponse:
    """Read a table that workers also read."""
    return JsonResponse({"parked": ParkedTask.objects.count()})


@csrf_exempt
def count(request: HttpRequest) -> JsonResponse:
    """Increment a counter in Redis; answer 503 if Redis does not answer."""
    try:
        counted = counter.incr("loadtest")
    except redis.RedisError:
        return JsonResponse({"detail": "No."}, status=503)
    return JsonResponse({"counted": counted, "server": settings.PROFILE})


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    """Return the size of an uploaded file."""
    return JsonResponse({"bytes": sum(len(part) for part in request.FILES["file"].chunks())})


def download(request: HttpRequest, megabytes: int) -> FileResponse:
    """Send a file of this size, which takes no place on the disk."""
    file = TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115 (Django closes it)
    file.truncate(megabytes * 2**20)
    return FileResponse(file, content_type="application/octet-stream")


@csrf_exempt
def refuse(request: HttpRequest) -> JsonResponse:
    """Refuse a request without reading its body."""
    return JsonResponse({"detail": "No."}, status=403)


def stream(request: HttpRequest, pieces: int) -> StreamingHttpResponse:
    """Stream a piece a second; `now` disables buffering in nginx, `fail` raises at the end."""

    def body() -> Iterator[bytes]:
        for number in range(pieces):
            yield b"%d\n" % number
            time.sleep(1)
        if "fail" in request.GET:
            raise RuntimeError("The stream fails on purpose.")

    headers = {"X-Accel-Buffering": "no"} if "now" in request.GET else {}
    return StreamingHttpResponse(body(), content_type="text/plain", headers=headers)


@csrf_exempt
def order(request: HttpRequest, key: str) -> JsonResponse:
    """Insert a row with the client's key; answer 409 if it exists."""
    # Work before and after the insert, so that a cut can occur on either side.
    time.sleep(0.02)
    try:
        Order.objects.create(key=key)
    except IntegrityError:
        return JsonResponse({"key": key}, status=409)
    time.sleep(0.02)
    return JsonResponse({"key": key}, status=201)


urlpatterns = [
    *site_urls,
    path("loadtest/slow/<int:milliseconds>", slow),
    path("loadtest/hang", hang),
    # With SLOW_PATHS.
    path("loadtest/reports/<int:milliseconds>", slow),
    path("loadtest/reports/hang", hang),
    path("loadtest/refuse", refuse),
    path("loadtest/upload", upload),
    path("loadtest/download/<int:megabytes>", download),
    path("loadtest/stream/<int:pieces>", stream),
    path("loadtest/parked", parked),
    path("loadtest/count", count),
    path("loadtest/order/<str:key>", order),
]
