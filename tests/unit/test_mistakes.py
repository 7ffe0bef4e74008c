"""Mistakes in a project's modules: manage.py prints one message, and no traceback."""

import os
from pathlib import Path

import pytest

from tests.tree import ROOT
from tests.unit.forks import run_forked

APPS = "from mysite.settings.local import *\nINSTALLED_APPS = [*INSTALLED_APPS, {}]\n"


def check(
    folder: Path,
    settings: str,
    *options: str,
    command: tuple[str, ...] = ("check",),
    **files: str,
) -> str:
    """Run `manage.py check` with other settings, which must fail, and return its messages."""
    package = folder / "broken"
    package.mkdir()
    for name, text in {"local": settings, **files}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text(text)
    done = run_forked(
        *("manage.py", *command, *options),
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(folder),
            "DJANGO_SETTINGS_MODULE": "broken.local",
            "DJANGO_READ_DOTENV": "false",
        },
    )
    assert done.returncode == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ("'bakry'", ("there is no app 'bakry'.\n", "./manage.py startapp bakry", "make add")),
        ("'acounts'", ("there is no app 'acounts'. Did you mean 'accounts'?",)),
        ("'django.contrib.site'", ("Did you mean 'django.contrib.sites'?",)),
        (
            "'accounts.app.X'",
            ("there is no app 'accounts.app.X'. Did you mean 'accounts.apps.X'?",),
        ),
        ("'accounts.apps.Acounts'", ("does not contain a 'Acounts' class",)),
        ("'django.contrib.sites' 'x'", ("If these are two names, add the comma",)),
        ("*'xy'", ("there is no app 'x'.\n", "write INSTALLED_APPS += [")),
    ],
)
def test_unknown_app_is_one_message_with_place_and_next_step(
    tmp_path: Path, entry: str, parts: tuple[str, ...]
) -> None:
    message = check(tmp_path, APPS.format(entry))

    assert message.startswith("manage.py: INSTALLED_APPS")
    assert "'x" in entry or f"{tmp_path}/broken/local.py line 2" in message
    assert all(part in message for part in parts), message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("setting", "shop", "line", "parts"),
    [
        (
            "INSTALLED_APPS += ['broken.shop']",
            "import nothing_of_that_name\n",
            1,
            ("No module named 'nothing_of_that_name'\n", "make add PACKAGE=..."),
        ),
        (
            "MIDDLEWARE += ['broken.shop.X']",
            "import django.contrib.site\n",
            1,
            ("Did you mean 'django.contrib.sites'?",),
        ),
        (
            "INSTALLED_APPS += ['broken.shop']",
            "class Order:\n    price = pric\n",
            2,
            ("NameError", "    price = pric\n"),
        ),
        (
            "INSTALLED_APPS += ['broken.shop']",
            "from django.db import models\nname = models.Charfield()\n",
            2,
            ("Correct the line. Did you mean 'CharField'?",),
        ),
        (
            "INSTALLED_APPS += ['broken.shop']",
            "orders = []\nprint(ordes)\n",
            2,
            ("Correct the line. Did you mean 'orders'?",),
        ),
        (
            "ROOT_URLCONF = 'broken.shop'",
            "from django.urls import path\nurlpatterns = [path('<integer:pk>/', print)]\n",
            2,
            ("ImproperlyConfigured: URL route", "invalid converter 'integer'"),
        ),
        (
            "TEMPLATES[0]['OPTIONS']['builtins'] = ['broken.shop']",
            "import nothing_of_that_name\n",
            1,
            ("No module named 'nothing_of_that_name'\n",),
        ),
        (
            "ROOT_URLCONF = 'broken.shop'",
            "from django.urls import path\nurlpatterns = [path('', 'shop.home')]\n",
            2,
            ("TypeError: view must be a callable", "    urlpatterns = [path("),
        ),
    ],
)
def test_error_while_a_module_is_imported_is_one_message_with_its_line(
    tmp_path: Path, setting: str, shop: str, line: int, parts: tuple[str, ...]
) -> None:
    settings = f"from mysite.settings.local import *\n{setting}\n"
    message = check(tmp_path, settings, shop=shop)

    assert message.startswith(f"manage.py: {tmp_path}/broken/shop.py line {line}: "), message
    assert all(part in message for part in parts), message
    assert "Traceback" not in message


def test_setting_that_a_package_misses_is_not_reported_as_the_line_that_imports_it(
    tmp_path: Path,
) -> None:
    message = check(
        tmp_path,
        APPS.format("'broken'") + "AUTH_USER_MODEL = 'accounts.Usr'\n",
        __init__="",
        models="import django.contrib.auth.admin\n",
    )

    assert message == (
        "manage.py: AUTH_USER_MODEL refers to model 'accounts.Usr' that has not been installed\n"
    )


def test_value_of_a_secret_is_not_in_the_message(tmp_path: Path) -> None:
    line = "import os; os.environ['SHOP_KEY'] = 'pass' + 'word'; X = int(os.environ['SHOP_KEY'])"
    message = check(tmp_path, f"from mysite.settings.local import *\n{line}\n")

    assert "line 2: ValueError: invalid literal for int() with base 10: '***" in message
    assert "password" not in message


def test_calls_of_a_failing_command_are_shown_by_the_same_command(tmp_path: Path) -> None:
    message = check(
        tmp_path,
        APPS.format("'broken'"),
        command=("bake",),
        __init__="",
        **{"management/commands/bake": "from django.core.management import BaseComand\n"},
    )

    assert "`./manage.py bake --traceback` shows the calls" in message


def test_error_in_tasks_is_one_message_with_its_line(tmp_path: Path) -> None:
    schedule = "CELERY_BEAT_SCHEDULE = {'x': {'task': 'broken.tasks.x', 'schedule': 5}}\n"
    settings = APPS.format("'broken'") + schedule
    message = check(tmp_path, settings, tasks="def x(: ...\n", __init__="")

    assert message.count("SyntaxError") == 1, message


def test_static_file_that_another_refers_to_is_named_without_a_traceback(tmp_path: Path) -> None:
    static = tmp_path / "static"
    static.mkdir()
    (static / "site.css").write_text("p { background: url('logo.png') }")
    storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    message = check(
        tmp_path,
        "from mysite.settings.local import *\n"
        f"STATICFILES_DIRS = [{str(static)!r}]\nSTATIC_ROOT = {str(tmp_path / 'root')!r}\n"
        f"STORAGES['staticfiles'] = {{'BACKEND': {storage!r}}}\n",
        command=("collectstatic", "--noinput"),
    )

    assert message.startswith("Post-processing 'site.css' failed!")
    assert "manage.py: The file 'logo.png' could not be found, to which" in message
    assert "Traceback" not in message


def test_error_while_an_app_gets_ready_is_one_message_with_its_line(tmp_path: Path) -> None:
    apps = (
        "from django.apps import AppConfig\n"
        "class Shop(AppConfig):\n"
        "    name = 'broken'\n"
        "    def ready(self):\n"
        "        from broken import cheks\n"
    )
    message = check(tmp_path, APPS.format("'broken'"), apps=apps, __init__="")

    assert message.startswith(f"manage.py: {tmp_path}/broken/apps.py line 5: ImportError: ")
    assert "Traceback" not in message


def test_error_inside_a_function_keeps_its_traceback(tmp_path: Path) -> None:
    shop = "def total(prices):\n    return 1 / prices\nTOTAL = total(0)\n"
    message = check(tmp_path, APPS.format("'broken.shop'"), shop=shop)

    assert "Traceback" in message and message.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Migration 0001 in app broken has no Migration class.\n    Add it"),
        (
            "from django.db import migrations\n"
            "class Migration(migrations.Migration):\n    dependencies = [('broken', '0001')]\n",
            "These migrations depend on each other: broken.0001.\n    Correct their",
        ),
    ],
)
def test_broken_migration_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    files = {"__init__": "", "migrations/__init__": "", "migrations/0001": text}
    settings = APPS.format("'broken'")

    assert check(tmp_path, settings, command=("makemigrations",), **files).startswith(
        f"manage.py: {message}"
    )


def test_dependency_on_a_migration_that_does_not_exist_is_one_message() -> None:
    from django.db.migrations.exceptions import NodeNotFoundError

    from ops import mistakes

    error = NodeNotFoundError("Migration shop.0002_a dependencies reference ...", ("shop", "0009"))
    assert mistakes.message(error).startswith("Migration shop.0002_a")
    assert "Correct its `dependencies`" in mistakes.message(error)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("X = evn.str('X')", ("NameError: name 'evn' is not defined\n    X = evn.str('X')",)),
        ("import os; X = os.environ['SHOP']", ("SHOP is not set", 'env.str("SHOP")')),
        ("X = env.int('RUN_PORT', default=1)", ('Write env.int("RUN_PORT").',)),
    ],
)
def test_error_in_the_settings_is_one_message_with_its_line(
    tmp_path: Path, line: str, parts: tuple[str, ...]
) -> None:
    message = check(tmp_path, f"from mysite.settings.local import *\n{line}\n")

    assert message.startswith(f"manage.py: {tmp_path}/broken/local.py line 2: ")
    assert all(part in message for part in parts), message
    assert "Traceback" not in message


def test_option_traceback_shows_all_of_an_error_in_the_settings(tmp_path: Path) -> None:
    message = check(tmp_path, "X = evn.str('X')\n", "--traceback")

    assert "Traceback" in message and "line 1, in <module>" in message


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("ROOT_URLCONF = 'mysite.url'", ("ROOT_URLCONF in", "Did you mean 'mysite.urls'?")),
        ("TIME_ZONE = 'Europe/Berln'", ("broken.local: Incorrect timezone setting",)),
        (
            "REST_FRAMEWORK['DEFAULT_PERMISSION_CLASSES'] = ['rest_framework.permissions.Is']",
            ("REST_FRAMEWORK in", "for API setting 'DEFAULT_PERMISSION_CLASSES'"),
        ),
        (
            "CELERY_IMPORTS = ['shop.jobs']\n"
            "CELERY_BEAT_SCHEDULE = {'x': {'task': 'shop.x', 'schedule': 5}}",
            ("CELERY_IMPORTS in", "line 2: there is no module 'shop.jobs'."),
        ),
        ("MIDDLEWARE += ['accounts.midleware.X']", ("ops.E003", "MIDDLEWARE in", "line 2")),
        (
            "MIDDLEWARE += ['ops.middleware.ProbMiddleware']",
            ("there is no 'ops.middleware.ProbMiddleware'. Did you mean 'ops.middleware.Probe",),
        ),
        ("AUTHENTICATION_BACKENDS = ['x']", ("ops.E003", "there is no 'x'.")),
        ("STORAGES['default'] = {'BACKEND': 'x.Y'}", ("ops.E003", "there is no 'x.Y'.")),
        ("DATABASE_ROUTERS = [object(), 'x.Y']", ("ops.E003", "DATABASE_ROUTERS in")),
        ("EMAIL_BACKEND = 'django.core.mail.backends.smpt.X'", ("ops.E003", "EMAIL_BACKEND in")),
        ("PASSWORD_HASHERS = ['x.Y']", ("ops.E003", "PASSWORD_HASHERS in")),
        ("MESSAGE_STORAGE = 'x.Y'", ("ops.E003", "MESSAGE_STORAGE in")),
        (
            "SESSION_ENGINE = 'django.contrib.sessions.backends.databse'",
            ("ops.E003", "SESSION_ENGINE in", "line 2: there is no 'django.contrib.sessions."),
        ),
        (
            "TEMPLATES[0]['OPTIONS']['builtins'] = ['accounts.tags']",
            ("TEMPLATES in", "line 2: there is no module 'accounts.tags'."),
        ),
        (
            "TEMPLATES[0]['OPTIONS']['context_processors'] += ['accounts.apps.cart']",
            ("ops.E003", "TEMPLATES in", "'accounts.apps.cart'"),
        ),
    ],
)
def test_name_of_a_module_that_does_not_exist_is_one_message_with_the_setting(
    tmp_path: Path, line: str, parts: tuple[str, ...]
) -> None:
    message = check(tmp_path, f"from mysite.settings.local import *\n{line}\n")

    assert all(part in message for part in parts), message
    assert "Traceback" not in message


def test_misspelt_settings_module_is_one_message(tmp_path: Path) -> None:
    message = check(tmp_path, "", "--settings=mysite.settings.prodction")

    assert message == (
        "manage.py: DJANGO_SETTINGS_MODULE or --settings: there is no module "
        "'mysite.settings.prodction'. Did you mean 'mysite.settings.production'?\n"
    )


def test_included_urls_that_do_not_exist_are_one_message(tmp_path: Path) -> None:
    message = check(
        tmp_path,
        "from mysite.settings.local import *\nROOT_URLCONF = 'broken.urls'\n",
        urls="from django.urls import include, path\n"
        "urlpatterns = [path('', include('accounts.urlz'))]\n",
    )

    assert f"{tmp_path}/broken/urls.py line 2: include() names 'accounts.urlz'" in message
    assert "Did you mean 'accounts.urls'?" in message
    assert "Traceback" not in message


def test_syntax_error_of_a_project_file_is_shown_without_the_calls(tmp_path: Path) -> None:
    """One of a package keeps its traceback, as here, where the project is another folder."""
    message = check(tmp_path, APPS.format("'broken.shop'"), shop="x = (\n")
    assert "Traceback" in message

    from ops import mistakes

    try:
        compile("x = (\n", str(ROOT / "shop/models.py"), "exec")
    except SyntaxError as error:
        text = mistakes.message(error)
    assert text.startswith("shop/models.py line 1 is no valid Python:\n")
    assert text.endswith("SyntaxError: '(' was never closed")
