"""What a server checks of its project before it answers."""

from importlib import import_module

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def check_project() -> None:
    """Import every view: no visitor gets the error of a faulty one, or waits for the imports.

    Raises:
        ImproperlyConfigured: the secrets are those of an image build.
        Exception: of a view's module.
    """
    import_module(settings.ROOT_URLCONF)
    if settings.BUILDING:
        raise ImproperlyConfigured(
            "DJANGO_BUILD is set: it replaces secrets by throw-away values, for image builds "
            "only. Remove it from the server's environment."
        )
