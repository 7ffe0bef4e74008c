"""The stack's paths. /livez, /readyz and /metrics are answered earlier, by its middleware.

What is answered without the database is so with ATOMIC_REQUESTS too: `non_atomic_requests`.
"""

from django.db.transaction import non_atomic_requests
from django.urls import path

from ops.health.views import HealthView
from ops.status.api import StatusApiView
from ops.status.favicon import FaviconView
from ops.status.views import StatusView

urlpatterns = [
    path("", non_atomic_requests(StatusView.as_view()), name="status"),
    path("favicon.ico", non_atomic_requests(FaviconView.as_view())),
    path("healthz", non_atomic_requests(HealthView.as_view()), name="healthz"),
    path("api/status/", non_atomic_requests(StatusApiView.as_view()), name="status-api"),
]
