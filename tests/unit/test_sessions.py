"""Sessions that have ended are removed by the workers."""

import datetime
import sys
import types
from pathlib import Path

import pytest
from django.contrib.sessions.backends import db, file
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.utils import timezone
from pytest_django import Settings

from ops import registry
from ops.database import rounds
from ops.worker import sessions


def end(*keys: str) -> None:
    """Let sessions have ended a second ago."""
    Session.objects.filter(pk__in=keys).update(
        expire_date=timezone.now() - datetime.timedelta(seconds=1)
    )


def store() -> str:
    """Begin a session, and return its key."""
    session = db.SessionStore()
    session.create()
    return str(session.session_key)


@pytest.mark.django_db
def test_workers_remove_ended_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUND", 2)
    ended = [store() for _ in range(5)]
    kept = store()
    end(*ended)

    assert registry.periodic_work["the removal of ended sessions"].work() == 5
    assert list(Session.objects.values_list("pk", flat=True)) == [kept]


def test_sessions_in_files_are_removed_by_their_own_engine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.file"
    # The engine keeps the folder of its first use.
    monkeypatch.setattr(file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    session = file.SessionStore()
    session["name"] = "value"
    session.set_expiry(-1)
    session.save()

    assert len(list(tmp_path.iterdir())) == 1
    sessions.remove_ended()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ["db", "cached_db"])
def test_project_without_sessions_has_none_to_remove(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    monkeypatch.setattr(sessions.apps, "is_installed", lambda name: False)
    # Its model would raise: it is of an app that is not installed.
    monkeypatch.setattr(db.SessionStore, "get_model_class", None)

    assert sessions.remove_ended() == 0


def engine(monkeypatch: pytest.MonkeyPatch, store: type) -> str:
    """Install an engine of a package that replaces django.contrib.sessions; return its name."""
    module = types.ModuleType("packaged_sessions")
    module.SessionStore = store  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sessions.apps, "is_installed", lambda name: False)
    return module.__name__


@pytest.mark.django_db
def test_ended_sessions_of_a_package_in_place_of_djangos_app_are_removed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(store())
    settings.SESSION_ENGINE = engine(monkeypatch, type("SessionStore", (db.SessionStore,), {}))

    assert sessions.remove_ended() == 1


def test_engine_that_cannot_remove_ended_sessions_is_left_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSION_ENGINE = engine(monkeypatch, SessionBase)

    assert sessions.remove_ended() == 0
