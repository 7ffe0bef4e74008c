"""/api/schema/ and /api/docs/: the API's own description, for programs and for people."""

from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.authentication import SessionAuthentication, TokenAuthentication
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView


def may_read(user: Any) -> bool:
    """Return whether someone may read about the API: who can use it, and everyone with DEBUG on."""
    return bool(settings.DEBUG or (user and user.is_authenticated))


class MayRead(BasePermission):
    """Signed-in users; with DEBUG on everyone."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the visitor is one of them."""
        return may_read(request.user)


class SchemaView(SpectacularAPIView):
    """The description in OpenAPI 3: YAML, or JSON for `?format=json`."""

    authentication_classes = (TokenAuthentication, SessionAuthentication)
    permission_classes = (MayRead,)


class DocsView(SpectacularSwaggerSplitView):
    """The description as a page on which requests can be tried.

    The page has no inline script: the one that begins is this view's too, by `?script=`.
    """

    authentication_classes = (SessionAuthentication,)
    # Checked below: a visitor in a browser is sent to sign in rather than refused.
    permission_classes = (AllowAny,)
    throttle_classes = ()
    template_name = "api/docs.html"
    title = "The API"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Show it, or ask to sign in first."""
        if not may_read(request.user):
            return redirect_to_login(request.get_full_path())
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        # The script has the session's CSRF token in it.
        response["Cache-Control"] = "no-store"
        return response
