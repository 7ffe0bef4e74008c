"""/: the page that a person sees first."""

from typing import Any

from django.conf import settings
from django.views.generic import TemplateView

from api.profile import active_profile, public_profile


class StatusView(TemplateView):
    """What answers here. With DEBUG off strangers learn no more than that the site is up."""

    template_name = "api/status.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the profile, for those who may see it."""
        profile = public_profile() if settings.DEBUG else {}
        if self.request.user.is_staff:
            profile = active_profile()
        return super().get_context_data(profile=profile, **kwargs)
