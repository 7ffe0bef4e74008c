"""/status/report/: what the status page shows, as JSON, for its own script."""

from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ops.status.report import may_see, profile_for, report


class MaySeeStatus(BasePermission):
    """Staff, and everyone where DEBUG is on."""

    message = "Only staff may see the status."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the visitor is one of them."""
        return may_see(request.user)


class StatusReportView(APIView):
    """The state of every server and component; servers of 1 s ago, components of 2 s ago."""

    # The page's session; a stranger receives 403.
    authentication_classes = (SessionAuthentication,)
    permission_classes = (MaySeeStatus,)
    # The page requests it every other second, and it costs little.
    throttle_classes = ()

    def get(self, request: Request) -> Response:
        """Answer with the report."""
        return Response(report(profile_for(request.user)), headers={"Cache-Control": "no-store"})
