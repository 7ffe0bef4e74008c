"""A token for programs; people sign in at /accounts/."""

from drf_spectacular.utils import extend_schema_view
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.settings import api_settings

from api import schema


@extend_schema_view(post=schema.get_token)
class TokenView(ObtainAuthToken):
    """A user's token, for their name and password: `Authorization: Token ...`."""

    # THROTTLE_LOGIN_PATHS limits it.
    throttle_classes = ()
    parser_classes = api_settings.DEFAULT_PARSER_CLASSES
