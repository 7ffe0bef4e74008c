"""Signing in: a token for programs, a form for people."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema_view
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.request import Request
from rest_framework.settings import api_settings

from api import schema
from api.throttling import LoginThrottle


@extend_schema_view(post=schema.get_token)
class TokenView(ObtainAuthToken):
    """A user's token, for their name and password: `Authorization: Token ...`."""

    throttle_classes = (LoginThrottle,)
    parser_classes = api_settings.DEFAULT_PARSER_CLASSES


def limit_tries(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return the form's view with the same limit on tries as the token has."""

    @wraps(view)
    def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        throttle = LoginThrottle()
        if request.method == "POST" and not throttle.allow_request(Request(request), None):
            return HttpResponse(
                "Too many tries. Please wait a little.\n",
                content_type="text/plain",
                status=429,
                headers={"Retry-After": str(round(throttle.wait()) + 1)},
            )
        return view(request, *args, **kwargs)

    return limited


@method_decorator(limit_tries, name="dispatch")
class SignInView(LoginView):
    """The form."""
