"""A token for programs; for people, the pages that depend on whether the site sends mails."""

from typing import Any

from django.contrib.auth import views
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from drf_spectacular.utils import extend_schema_view, inline_serializer
from rest_framework import serializers
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.settings import api_settings

from ops import mail
from ops.schema import BAD_REQUEST, described

get_token = described(
    "Get an API token for your user name and password",
    {200: inline_serializer("Token", {"token": serializers.CharField()}), **BAD_REQUEST},
    *(415, 429),
    auth=[],
)


@extend_schema_view(post=get_token)
class TokenView(ObtainAuthToken):
    """A user's token, for their name and password: `Authorization: Token ...`."""

    # THROTTLE_LOGIN_PATHS limits it.
    throttle_classes = ()
    parser_classes = api_settings.DEFAULT_PARSER_CLASSES


class SignInView(views.LoginView):
    """The sign-in page; it offers a new password where the site sends mails."""

    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add whether the site sends mails."""
        return super().get_context_data(sends_mail=mail.is_sent(), **kwargs)


class PasswordResetView(views.PasswordResetView):
    """The page that sends a link to set a new password, or says that this site sends none."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer with the form, or with the page that says why there is none."""
        if mail.is_sent():
            return super().dispatch(request, *args, **kwargs)
        return TemplateResponse(
            request, "registration/password_reset_unavailable.html", {"title": self.title}
        )
