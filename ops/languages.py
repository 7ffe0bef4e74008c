"""The language of each page: the browser's, of those in LANGUAGES."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponseBase
from django.middleware.locale import LocaleMiddleware


class LanguageMiddleware(LocaleMiddleware):
    """Django's LocaleMiddleware, where there is a choice: a site of one language pays nothing."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        """Leave the site without it if it has one language.

        Raises:
            MiddlewareNotUsed: LANGUAGES has one language.
        """
        if len(settings.LANGUAGES) == 1:
            raise MiddlewareNotUsed("LANGUAGES has one language")
        super().__init__(get_response)
