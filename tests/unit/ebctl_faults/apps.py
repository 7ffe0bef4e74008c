"""Faults of INSTALLED_APPS: what the bundle or the image lacks."""

from tests.unit.ebctl_faults.bundles import OWN, Fault, with_file
from tools.ebctl.bundle import Bundle, BundleFile

SETTINGS = "mysite/settings/base.py"
LOCKED = "requirements/production.txt"
APP = "from django.apps import AppConfig\n"
LINE = OWN.files[SETTINGS].text.splitlines().index("INSTALLED_APPS = [") + 2


def with_app(name: str, *files: str) -> Bundle:
    """Return the bundle with an installed app, first in the list, and its files."""
    text = OWN.files[SETTINGS].text.replace(
        "INSTALLED_APPS = [\n", f'INSTALLED_APPS = [\n    "{name}",\n'
    )
    added = {SETTINGS: text, **dict.fromkeys(files, APP)}
    return Bundle(
        {**OWN.files, **{path: BundleFile(content.encode()) for path, content in added.items()}}
    )


FAULTS: dict[str, Fault] = {
    "app that is not in the bundle": (with_app("shop"), "app", LINE, "no folder shop"),
    "app whose folder has no module": (
        with_app("shop", "shop/static/shop/a.css"),
        "app",
        LINE,
        "no folder shop",
    ),
    "misspelt module of an AppConfig": (
        with_app("shop.app.ShopConfig", "shop/__init__.py", "shop/apps.py"),
        "app",
        LINE,
        "no shop.app;",
    ),
    "app in a folder that stays out of the image": (
        with_app("backups", "backups/__init__.py"),
        "app",
        LINE,
        ".dockerignore",
    ),
    "app of a package that is for tests only": (
        with_app("pytest_django"),
        "app",
        LINE,
        "pytest-django is not in requirements/production.txt",
    ),
    "app of a package that is no longer locked": (
        with_file(LOCKED, OWN.files[LOCKED].text.replace("django-structlog==", "structlogs==")),
        "app",
        OWN.files[SETTINGS].text.splitlines().index('    "django_structlog",') + 1,
        "make lock",
    ),
    "settings with a syntax error": (
        with_file(SETTINGS, "INSTALLED_APPS = [\n"),
        "app",
        1,
        "Python",
    ),
}
