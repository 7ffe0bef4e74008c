"""The application's paths. /livez and /readyz are answered earlier, by `api.middleware`."""

from django.urls import path

from api.views.health import HealthView
from api.views.hits import HitsView
from api.views.profile import ProfileView
from api.views.status import StatusView

urlpatterns = [
    path("", StatusView.as_view(), name="status"),
    path("profile/", ProfileView.as_view(), name="profile"),
    # Asked without the slash as well, and answered rather than redirected.
    path("profile", ProfileView.as_view()),
    path("healthz", HealthView.as_view(), name="healthz"),
    path("api/hits/", HitsView.as_view(), name="hits"),
]
