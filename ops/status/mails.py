"""/status/mails/: the mails of a site on a laptop, which sends none.

A page on the rows that ops.mail writes anyway needs no server, port or volume, as a mail catcher
would; and it works with `make run`.
"""

from email import message_from_bytes, policy
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from ops.models import Mail
from ops.status.report import may_see

SHOWN = 50


@method_decorator(never_cache, name="dispatch")
class MailsView(TemplateView):
    """The latest mails; 404 where mails are sent."""

    template_name = "ops/mails.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer with the page.

        Raises:
            Http404: mails are sent, or this user may not see them.
        """
        # They have links that sign users in.
        if not (settings.SHOW_MAILS and may_see(request.user)):
            raise Http404
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the mails."""
        latest = Mail.objects.order_by("-pk")[:SHOWN]
        return super().get_context_data(mails=[shown(mail) for mail in latest], **kwargs)


def shown(mail: Mail) -> dict[str, Any]:
    """Return what the page shows of a mail."""
    message = message_from_bytes(bytes(mail.message), policy=policy.default)
    body = message.get_body(("plain", "html"))
    return {
        "subject": message["Subject"],
        "sender": mail.sender,
        "recipients": mail.recipients,
        "created": mail.created,
        "sent": mail.sent,
        "text": body.get_content() if body else "",
        "attachments": [part.get_filename() for part in message.iter_attachments()],
    }
