"""/healthz: each component's health, for people and deploys."""

from django.http import HttpRequest, JsonResponse
from django.views.generic import View

from ops.health.report import HEALTH


class HealthView(View):
    """200 when every component is up, else 503; JSON says which."""

    def get(self, request: HttpRequest) -> JsonResponse:
        """Answer with the components' states, which may be HEALTH_SECONDS old."""
        components = HEALTH.get()
        down = "down" in {line["status"] for line in components.values()}
        body = {"status": "down" if down else "up", "components": components}
        return JsonResponse(
            body, status=503 if down else 200, headers={"Cache-Control": "no-store"}
        )
