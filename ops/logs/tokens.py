"""Tokens of password reset links, which whoever reads a log could use."""

import re

# Django's form, and django-allauth's. The servers in front leave it out of their access logs, too.
RESET_TOKEN = re.compile(r"\b[0-9a-z]{6,7}-[0-9a-f]{32}\b")


def without_tokens(text: str) -> str:
    """Return a text without the tokens of password reset links."""
    return RESET_TOKEN.sub("***", text)
