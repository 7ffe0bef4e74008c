"""`./manage.py seed` calls the function `seed` of each app's seed.py."""

import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.apps import AppConfig
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command

from ops.management.commands import seed as seeding

pytestmark = pytest.mark.django_db

ADDS_A_GROUP = """from django.contrib.auth.models import Group


def seed():
    Group.objects.create(name="{name}")
    {then}
"""


@pytest.fixture
def apps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the empty apps `shop` and `bakery`, and no other."""
    monkeypatch.syspath_prepend(tmp_path)
    names = ["shop", "bakery"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    # Loading Django's apps again would register their checks and metrics twice.
    configs = [AppConfig.create(name) for name in names]
    monkeypatch.setattr(seeding.apps, "get_app_configs", lambda: configs)
    yield tmp_path
    for module in [name for name in sys.modules if name.split(".")[0] in names]:
        del sys.modules[module]


def write(folder: Path, app: str, then: str = "") -> None:
    """Write an app's seed.py, which adds a group."""
    (folder / app / "seed.py").write_text(ADDS_A_GROUP.format(name=app, then=then))


def seed(*arguments: str) -> str:
    """Run the command and return its output."""
    output = StringIO()
    call_command("seed", *arguments, stdout=output)
    return output.getvalue()


def groups() -> set[str]:
    """Return the names of all groups."""
    return set(Group.objects.values_list("name", flat=True))


def test_seed_calls_every_app_in_the_order_of_installed_apps(apps: Path) -> None:
    write(apps, "bakery", "return '1 group'")
    write(apps, "shop")

    assert seed() == "shop\nbakery: 1 group\n"
    assert groups() == {"bakery", "shop"}


def test_seed_of_one_app_leaves_the_others_alone(apps: Path) -> None:
    write(apps, "bakery")
    write(apps, "shop")

    seed("shop")

    assert groups() == {"shop"}


def test_failed_seed_keeps_nothing_of_its_app(apps: Path) -> None:
    write(apps, "bakery", "raise KeyError('flour')")
    write(apps, "shop")

    with pytest.raises(KeyError):
        seed()

    assert groups() == {"shop"}


def test_seed_before_the_first_migration_names_the_command(apps: Path) -> None:
    (apps / "shop" / "seed.py").write_text(
        "from django.db import OperationalError\n\n\n"
        "def seed():\n    raise OperationalError('no such table: shop_note')\n"
    )

    with pytest.raises(CommandError, match=r"shop: no such table: shop_note\..*manage\.py migrate"):
        seed()


def test_seed_is_refused_in_production_without_force(
    apps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(apps, "shop")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "mysite.settings.production")

    with pytest.raises(CommandError, match=r"this is production\. Use --force"):
        seed()
    assert groups() == set()

    seed("--force")
    assert groups() == {"shop"}


def test_seed_names_the_file_to_write_where_no_app_has_one(apps: Path) -> None:
    with pytest.raises(CommandError, match=r"no app has a seed\.py.* shop/seed\.py"):
        seed()


def test_seed_names_the_apps_that_have_one(apps: Path) -> None:
    write(apps, "shop")

    with pytest.raises(CommandError, match=r"no seed\.py in sohp\. Apps that have one: shop\."):
        seed("sohp")


def test_seed_without_its_function_is_named(apps: Path) -> None:
    (apps / "shop" / "seed.py").write_text("def fill():\n    pass\n")

    with pytest.raises(CommandError, match=r"shop/seed\.py has no function `seed`"):
        seed()
