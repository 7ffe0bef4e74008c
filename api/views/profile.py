"""/profile/: which settings are active, and where."""

from drf_spectacular.utils import extend_schema_view

from api import schema
from ops.status import profile


@extend_schema_view(get=schema.read_profile)
class ProfileView(profile.ProfileView):
    """The active profile as JSON, or its settings' name as text.

    `Accept: text/plain` or `?format=txt` asks for the text. Staff see every field, everyone else
    what PROFILE_FIELDS names.
    """
