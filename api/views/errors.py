"""What is left under /api/ when no URL matches."""

from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponsePermanentRedirect
from django.urls import resolve
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
        view = resolve(f"{request.path_info}/").func
        if getattr(view, "view_class", None) is not NoSuchEndpointView:
            path = request.get_full_path(force_append_slash=True)
            return HttpResponsePermanentRedirect(path, preserve_request=True)
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Count the request against its client's limit, then refuse it.

        Raises:
            NotFound: always, unless the limit is reached (Throttled).
        """
        super().initial(request, *args, **kwargs)
        raise exceptions.NotFound
