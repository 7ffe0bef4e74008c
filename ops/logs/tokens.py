"""Keeps the tokens of password reset links out of logs: a token sets a new password."""

import re

# Django's form, and django-allauth's. The servers in front leave it out of their access logs, too.
RESET_TOKEN = re.compile(r"\b[0-9a-z]{6,7}-[0-9a-f]{32}\b")


def without_tokens(text: str) -> str:
    """Return a text without the tokens of password reset links."""
    return RESET_TOKEN.sub("***", text)
