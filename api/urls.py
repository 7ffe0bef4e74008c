"""The application's paths. /livez and /readyz are answered earlier, by `api.middleware`.

What is answered without the database is so with ATOMIC_REQUESTS too: `non_atomic_requests`. So is
an upload, which removes its file if its own transaction fails.
"""

from django.db.transaction import non_atomic_requests
from django.urls import include, path, re_path

from api.views.accounts import TokenView
from api.views.docs import DocsView, SchemaView
from api.views.errors import NoSuchEndpointView
from api.views.favicon import FaviconView
from api.views.health import HealthView
from api.views.hits import HitsView
from api.views.profile import ProfileView
from api.views.status import StatusView
from api.views.status_api import StatusApiView
from api.views.uploads import UploadListView, UploadView

urlpatterns = [
    path("", non_atomic_requests(StatusView.as_view()), name="status"),
    path("favicon.ico", non_atomic_requests(FaviconView.as_view())),
    path("profile/", non_atomic_requests(ProfileView.as_view()), name="profile"),
    # Asked without the slash as well, and answered rather than redirected.
    path("profile", non_atomic_requests(ProfileView.as_view())),
    path("healthz", non_atomic_requests(HealthView.as_view()), name="healthz"),
    path("api/hits/", non_atomic_requests(HitsView.as_view()), name="hits"),
    path("api/status/", non_atomic_requests(StatusApiView.as_view()), name="status-api"),
    path("api/uploads/", non_atomic_requests(UploadListView.as_view()), name="uploads"),
    path("api/uploads/<uuid:pk>/", UploadView.as_view(), name="upload"),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(), name="docs"),
    path("api/token/", TokenView.as_view(), name="token"),
    # All that is left, line breaks included.
    re_path(r"^api/[\s\S]*$", non_atomic_requests(NoSuchEndpointView.as_view())),
    path("accounts/", include("api.accounts")),
]
