"""The project's URLs. The first match wins: yours, then the API's and the stack's."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

# A page for browsers, JSON for other clients.
handler400 = "ops.errors.bad_request"
handler403 = "ops.errors.permission_denied"
handler404 = "ops.errors.page_not_found"
handler500 = "ops.errors.server_error"

urlpatterns = [
    path("", include("accounts.urls")),
    path("", include("demo.urls")),  # remove_demo
    path("admin/", admin.site.urls),
]

if "debug_toolbar" in settings.INSTALLED_APPS:
    urlpatterns.append(path("__debug__/", include("debug_toolbar.urls")))

# Last: what is left under /api/ is 404 there, and / redirects to /status/ until it is yours.
urlpatterns += [path("", include("api.urls")), path("", include("ops.urls"))]
