"""Errors under /api/ are JSON, whoever finds them: no program has to read a page."""

from typing import Any

from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponsePermanentRedirect,
)
from django.urls import resolve
from django.views import defaults
from rest_framework import exceptions
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView


class NoSuchEndpointView(APIView):
    """404, for every method, where there is no endpoint; a forgotten last slash is added."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send the request on to the path with the slash if there is something."""
        found = resolve(f"{request.path_info}/").func
        if getattr(found, "view_class", None) is not NoSuchEndpointView:
            path = request.get_full_path(force_append_slash=True)
            return HttpResponsePermanentRedirect(path, preserve_request=True)
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Count the request against its client's limit, then refuse it."""
        super().initial(request, *args, **kwargs)
        raise exceptions.NotFound


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400 to what Django itself refuses, such as a wrong Host."""
    if is_api(request):
        return exceptions.bad_request(request, exception)
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500 to a mistake of ours; what it was is in the log."""
    if is_api(request):
        return exceptions.server_error(request)
    return defaults.server_error(request)


def is_api(request: HttpRequest) -> bool:
    """Tell whether a program has asked."""
    return request.path.startswith("/api/")
