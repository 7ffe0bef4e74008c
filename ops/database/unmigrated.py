"""Changes of a project's models that no migration has: their tables lack what the code uses."""

from pathlib import Path

from django.apps import apps
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
        if app.label in changed and any(app.get_models()) and _is_own(Path(app.path))
    ]


def _is_own(folder: Path) -> bool:
    return folder.is_relative_to(settings.SOURCE_ROOT) and "site-packages" not in folder.parts
