"""The project's URLs: the API's own, and the admin."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from api.views.accounts import limit_tries

handler400 = "api.views.errors.bad_request"
handler500 = "api.views.errors.server_error"

urlpatterns = [
    path("", include("api.urls")),
    # Before the admin, which has its own form and no limit. The name is for the metrics.
    path("admin/login/", limit_tries(admin.site.login), name="admin"),
    path("admin/", admin.site.urls),
]

if "debug_toolbar" in settings.INSTALLED_APPS:
    urlpatterns.append(path("__debug__/", include("debug_toolbar.urls")))
