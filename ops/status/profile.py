"""/profile/: which settings are active, and where."""

from typing import Any

from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ops.status.report import profile_for


class SettingsNameRenderer(BaseRenderer):
    """The name of the active settings alone, as one line of text."""

    media_type = "text/plain"
    format = "txt"
    charset = "utf-8"

    def render(
        self, data: dict[str, Any], accepted_media_type: str | None = None, context: Any = None
    ) -> str:
        """Return the settings' name, or an error's text."""
        return f"{data.get('settings') or data.get('detail', '')}\n"


class ProfileView(APIView):
    """The active profile, as far as the visitor may see it."""

    permission_classes = (AllowAny,)
    # Load balancers and debugging depend on it: never throttled.
    throttle_classes = ()
    renderer_classes = (JSONRenderer, SettingsNameRenderer)

    def get(self, request: Request, format: str | None = None) -> Response:
        """Answer with the profile that this visitor may see."""
        return Response(profile_for(request.user), headers={"Cache-Control": "no-store"})
