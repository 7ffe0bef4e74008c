"""/: the page that a person sees first."""

from typing import Any

from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from api.picture import picture
from api.status import may_see, profile_for, report


@method_decorator(never_cache, name="dispatch")
class StatusView(TemplateView):
    """The stack, live. With DEBUG off strangers learn no more than that the site is up."""

    template_name = "api/status.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the present state, for those who may see it; the page's script renews it."""
        if may_see(self.request.user):
            state = report(profile_for(self.request.user))
            kwargs |= {"report": state, "picture": picture(state)}
        return super().get_context_data(**kwargs)
