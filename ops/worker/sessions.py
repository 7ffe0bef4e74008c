"""The removal of sessions that have ended, which Django leaves to each project.

https://docs.djangoproject.com/en/5.2/topics/http/sessions/#clearing-the-session-store
"""

from contextlib import suppress
from importlib import import_module

from django.apps import apps
from django.conf import settings
from django.utils import timezone

from ops.database import rounds

# Their model is that of django.contrib.sessions; engines of packages come with an app of their own.
_WITH_TABLE = {f"django.contrib.sessions.backends.{name}" for name in ("db", "cached_db")}


def remove_ended() -> int:
    """Delete the rows of sessions that have ended; return how many.

    Raises:
        django.db.Error: the database is down.
    """
    engine = settings.SESSION_ENGINE
    if engine in _WITH_TABLE and not apps.is_installed("django.contrib.sessions"):
        return 0
    store = import_module(engine).SessionStore
    if not hasattr(store, "get_model_class"):
        # In files, a cache, or as a package does it, which may leave it out.
        with suppress(NotImplementedError):
            store.clear_expired()
        return 0
    sessions = store.get_model_class().objects
    return rounds.delete(sessions.filter(expire_date__lt=timezone.now()))
