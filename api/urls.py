"""The API's own paths; other apps' paths under api/ come before these."""

from django.db.transaction import non_atomic_requests
from django.urls import path, re_path

from api.views.docs import DocsView, SchemaView
from api.views.errors import NoSuchEndpointView
from api.views.profile import ProfileView

urlpatterns = [
    path("profile/", non_atomic_requests(ProfileView.as_view()), name="profile"),
    # Answers without the slash too, rather than redirect.
    path("profile", non_atomic_requests(ProfileView.as_view())),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(), name="docs"),
    # All that is left, line breaks included.
    re_path(r"^api/[\s\S]*$", non_atomic_requests(NoSuchEndpointView.as_view())),
]
