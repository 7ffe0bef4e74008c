"""What the API's description says of this app's endpoints."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from ops.schema import described

PROFILE_FIELDS = {
    "settings": serializers.CharField(
        required=False, help_text="The settings layer, such as production."
    ),
    "server": serializers.CharField(required=False, help_text="The server that answered."),
    "release": serializers.CharField(required=False),
    "stack": serializers.CharField(required=False, help_text="The stack's version."),
    "hostname": serializers.CharField(required=False),
    "django": serializers.CharField(required=False),
    "python": serializers.CharField(required=False),
    "debug": serializers.BooleanField(required=False),
}

read_profile = described(
    "Read the active settings and the server that answers",
    {
        (200, "application/json"): inline_serializer("Profile", PROFILE_FIELDS),
        (200, "text/plain"): OpenApiTypes.STR,
    },
    404,
    parameters=(OpenApiParameter("format", {"type": "string", "pattern": "^(json|txt)?$"}),),
)
