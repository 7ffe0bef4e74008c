"""URLs of the stack's unit tests: those of the stack, plus an endpoint and a task.

Your own apps cannot fail these tests. A test replaces `count` to make endpoint and task fail.
"""

from django.contrib import admin
from django.db.transaction import non_atomic_requests
from django.urls import include, path
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mysite.urls import handler400, handler403, handler404, handler500
from ops.celery import app
from ops.schema import described

__all__ = ["handler400", "handler403", "handler404", "handler500"]


def count() -> int:
    """Return the number of orders."""
    return 0


class OrdersView(APIView):
    """Open to all clients, so that a test needs no user."""

    permission_classes = (AllowAny,)

    @described("Count the orders", {200: dict[str, int]}, 429)
    def get(self, request: Request) -> Response:
        """Return the number of orders."""
        return Response({"orders": count()})

    @described("Order", {200: dict[str, int]}, 403, 429, request=None)
    def post(self, request: Request) -> Response:
        """Return the same as GET."""
        return self.get(request)


@app.task(name="tests.ship")
def ship(order: str = "") -> None:
    """Call `count`, which a test may replace."""
    count()


urlpatterns = [
    path("api/orders/", non_atomic_requests(OrdersView.as_view()), name="orders"),
    path("", include("accounts.urls")),
    path("admin/", admin.site.urls),
    path("", include("api.urls")),
    path("", include("ops.urls")),
]
