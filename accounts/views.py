"""A token for programs; people sign in at /accounts/login/."""

from drf_spectacular.utils import extend_schema_view, inline_serializer
from rest_framework import serializers
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.settings import api_settings

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
