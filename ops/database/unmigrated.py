"""Changes of a project's models that no migration has: their tables lack what the code uses."""

from pathlib import Path

from django.apps import AppConfig, apps
from django.conf import settings
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState


def own_apps_without_migration() -> list[str]:
    """Return the labels of the project's apps whose models differ from their migrations.

    An installed package may differ too, but its migrations are not the project's.
    """
    loader = MigrationLoader(None)
    detector = MigrationAutodetector(loader.project_state(), ProjectState.from_apps(apps))
    changed = {*detector.changes(graph=loader.graph), *loader.unmigrated_apps}
    return [
        app.label
        for app in apps.get_app_configs()
        if app.label in changed and _has_tables(app) and _is_own(Path(app.path))
    ]


def _has_tables(app: AppConfig) -> bool:
    """Return whether migrations create tables for an app; not those of unmanaged models."""
    return any(model._meta.managed for model in app.get_models())


def _is_own(folder: Path) -> bool:
    return folder.is_relative_to(settings.SOURCE_ROOT) and "site-packages" not in folder.parts
