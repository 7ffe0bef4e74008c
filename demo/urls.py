"""The demo's paths."""

from django.db.transaction import non_atomic_requests
from django.urls import path

from demo.views.hits import HitsView
from demo.views.uploads import UploadListView, UploadView

urlpatterns = [
    # Answered without the database, where the counter is in Redis.
    path("api/hits/", non_atomic_requests(HitsView.as_view()), name="hits"),
    # An upload removes its file if its own transaction fails.
    path("api/uploads/", non_atomic_requests(UploadListView.as_view()), name="uploads"),
    path("api/uploads/<uuid:pk>/", UploadView.as_view(), name="upload"),
]
