"""The removal of sessions that have ended, which Django leaves to each project.

https://docs.djangoproject.com/en/5.2/topics/http/sessions/#clearing-the-session-store
"""

from importlib import import_module

from django.apps import apps
from django.conf import settings
from django.utils import timezone

from ops.database import rounds


def remove_ended() -> int:
    """Delete the rows of sessions that have ended; return how many.

    Raises:
        django.db.Error: the database is down.
    """
    if not apps.is_installed("django.contrib.sessions"):
        return 0
    store = import_module(settings.SESSION_ENGINE).SessionStore
    if not hasattr(store, "get_model_class"):
        # In files or a cache.
        store.clear_expired()
        return 0
    sessions = store.get_model_class().objects
    return rounds.delete(sessions.filter(expire_date__lt=timezone.now()))
