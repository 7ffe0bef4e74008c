"""/favicon.ico: what browsers ask for on pages that name no icon, such as the admin's."""

from typing import Any

from django.templatetags.static import static
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_control
from django.views.generic import RedirectView


@method_decorator(cache_control(max_age=3600, public=True), name="dispatch")
class FaviconView(RedirectView):
    """Lead to the site's icon; its hashed name changes, so this is not for ever."""

    def get_redirect_url(self, *args: Any, **kwargs: Any) -> str:
        """Return the icon's present name."""
        return static("ops/icon.svg")
