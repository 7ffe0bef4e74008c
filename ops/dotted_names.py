"""`./manage.py check` of the dotted names in settings that Django imports only when it needs them.

A misspelt context processor otherwise shows in the first page, and a sign-in backend at sign-in.
"""

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from ops.environment import places
from ops.mistakes import near

_LISTS = (
    *("MIDDLEWARE", "AUTHENTICATION_BACKENDS", "FILE_UPLOAD_HANDLERS"),
    *("DATABASE_ROUTERS", "PASSWORD_HASHERS"),
)
# What a module that SESSION_ENGINE names has to define.
_STORE = ".SessionStore"


@register("settings")
def check_names(**_: object) -> list[CheckMessage]:
    """Refuse names of modules, classes and functions that do not exist."""
    return [
        Error(
            f"{places.of_setting(setting, name.removesuffix(_STORE))}: there is no {name!r}."
            f"{near(name)}",
            hint="Correct the name, or add what it names.",
            id="ops.E003",
        )
        for setting, name in _names()
        if not _exists(name)
    ]


def _names() -> Iterator[tuple[str, str]]:
    """Yield each setting with a name in it."""
    for setting in _LISTS:
        for name in getattr(settings, setting):
            # A router may be an object.
            if isinstance(name, str):
                yield setting, name
    for setting in ("EMAIL_BACKEND", "MESSAGE_STORAGE"):
        yield setting, getattr(settings, setting)
    yield "SESSION_ENGINE", settings.SESSION_ENGINE + _STORE
    for validator in settings.AUTH_PASSWORD_VALIDATORS:
        yield "AUTH_PASSWORD_VALIDATORS", validator["NAME"]
    for storage in settings.STORAGES.values():
        yield "STORAGES", storage["BACKEND"]
    for engine in settings.TEMPLATES:
        for name in engine.get("OPTIONS", {}).get("context_processors", ()):
            yield "TEMPLATES", name


def _exists(name: str) -> bool:
    """Return whether a name can be imported; an error inside of an existing module is raised."""
    try:
        import_string(name)
    except ImportError as error:
        module = name.rpartition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(
            f"{error.name}."
        )
        if missing or isinstance(error.__cause__, AttributeError) or not module:
            return False
        raise
    return True
