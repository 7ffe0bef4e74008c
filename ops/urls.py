"""The stack's paths. /livez, /readyz and /metrics are answered earlier, by its middleware.

What is answered without the database is so with ATOMIC_REQUESTS too: `non_atomic_requests`.
"""

from django.db.transaction import non_atomic_requests
from django.urls import path
from django.views.generic import RedirectView

from ops.health.views import HealthView
from ops.status.api import StatusReportView
from ops.status.favicon import FaviconView
from ops.status.mails import MailsView
from ops.status.views import StatusView

urlpatterns = [
    path("status/", non_atomic_requests(StatusView.as_view()), name="status"),
    path("status/report/", non_atomic_requests(StatusReportView.as_view()), name="status-report"),
    path("status/mails/", MailsView.as_view(), name="status-mails"),
    path("favicon.ico", non_atomic_requests(FaviconView.as_view())),
    path("healthz", non_atomic_requests(HealthView.as_view()), name="healthz"),
    # Until the project has a page of its own there: its URLs come first.
    path("", non_atomic_requests(RedirectView.as_view(pattern_name="status"))),
]
