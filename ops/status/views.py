"""/status/: the page about the stack."""

from typing import Any

from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from ops import registry
from ops.status.diagram import diagram
from ops.status.report import may_see, profile_for, report


@method_decorator(never_cache, name="dispatch")
class StatusView(TemplateView):
    """The stack, live. With DEBUG off strangers learn no more than that the site is up."""

    template_name = "ops/status.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the present state, for those who may see it; the page's script renews it."""
        user = self.request.user
        # The labels and lengths of the sign-in form, as the user model has them.
        kwargs["form"] = AuthenticationForm(self.request)
        shown = [card for card in registry.cards.values() if card.public and user.is_authenticated]
        if may_see(user):
            state = report(profile_for(user))
            shown = list(registry.cards.values())
            kwargs |= {"report": state, "diagram": diagram(state)}
        scripts = [script for card in registry.cards.values() for script in card.page_scripts]
        scripts += [script for card in shown for script in card.scripts]
        kwargs |= {"cards": shown, "scripts": scripts, "show_mails": settings.SHOW_MAILS}
        return super().get_context_data(**kwargs)
