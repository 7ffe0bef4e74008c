"""The URLs: the stack's, then yours with your handlers; `/` is yours."""

from importlib import import_module

from django.conf import settings
from django.db.transaction import non_atomic_requests
from django.urls import include, path
from rest_framework.authentication import SessionAuthentication

from ops.status.profile import ProfileView
from ops.urls import urlpatterns as stack

yours = import_module(settings.PROJECT_URLCONF)
handler400 = getattr(yours, "handler400", "ops.errors.bad_request")
handler403 = getattr(yours, "handler403", "ops.errors.permission_denied")
handler404 = getattr(yours, "handler404", "ops.errors.page_not_found")
handler500 = getattr(yours, "handler500", "ops.errors.server_error")

profile = non_atomic_requests(
    ProfileView.as_view(authentication_classes=[SessionAuthentication], versioning_class=None)
)
urlpatterns = [
    path("profile/", profile, name="profile"),
    # Answers without the slash too, rather than redirect.
    path("profile", profile),
    *(pattern for pattern in stack if pattern.name),
    *yours.urlpatterns,
    # The favicon, and a redirect from / to /status/, unless you have both.
    *(pattern for pattern in stack if not pattern.name),
]

if "debug_toolbar" in settings.INSTALLED_APPS and not any(
    getattr(pattern, "namespace", None) == "djdt" for pattern in urlpatterns
):
    urlpatterns.insert(0, path("__debug__/", include("debug_toolbar.urls")))
