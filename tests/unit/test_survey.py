"""The survey of an existing project before it adopts the stack."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tools.tailor.findings import findings
from tools.tailor.survey import Read, Survey, SurveyError, survey, uncommitted
from tools.tailor.versions import series_of

DECIDED = re.compile("SECRET_KEY|DATABASES|CACHES")
KNOWN = {"SENTRY_DSN"}
MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\n# django\n'
SETTINGS = 'INSTALLED_APPS = []\nROOT_URLCONF = "shop.urls"\n'
PROJECT = {
    "manage.py": MANAGE.format("shop.settings"),
    "shop/__init__.py": "",
    "shop/settings.py": SETTINGS,
    "shop/urls.py": "urlpatterns = []\n",
    "requirements.txt": "Django==5.2.3\n",
}
PACKAGE = {
    **{name: text for name, text in PROJECT.items() if name != "shop/settings.py"},
    "manage.py": MANAGE.format("shop.settings.dev"),
    "shop/settings/__init__.py": "",
    "shop/settings/base.py": SETTINGS,
    "shop/settings/dev.py": "from .base import *\n",
}


def survey_of(folder: Path, files: Mapping[str, str | bytes], settings: str = "") -> Survey:
    """Survey a project with these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return survey(folder, DECIDED, KNOWN, settings)


def test_survey_uses_a_single_settings_file_for_every_layer(tmp_path: Path) -> None:
    result = survey_of(tmp_path, PROJECT)
    assert set(result.settings.values()) == {"shop.settings"}
    assert (result.urls, result.user_model, result.django) == ("shop.urls", "auth.User", "5.2")
    assert list(findings(result)) == []


def test_survey_reads_a_startproject_project_and_reports_unpinned_packages(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "django", "startproject", "store", str(tmp_path))
    subprocess.run(command, check=True)
    (tmp_path / "requirements.txt").write_text("django\ndjangorestframework\n")
    result = survey_of(tmp_path, {})
    assert set(result.settings.values()) == {"store.settings"} and result.urls == "store.urls"
    assert [line.partition(". ")[0] for line in findings(result)] == [
        "Packages without a version: 2 (django, djangorestframework)"
    ]


def test_survey_maps_settings_modules_to_layers_by_usual_names(tmp_path: Path) -> None:
    files = {**PACKAGE, "shop/settings/production.py": "from .base import *\n"}
    files["shop/settings/local.py"] = "from .base import *\n"
    assert survey_of(tmp_path, files).settings == {
        "local": "shop.settings.dev",
        "dev": "shop.settings.production",
        "production": "shop.settings.production",
        "test": "shop.settings.dev",
    }


def test_survey_uses_the_only_other_settings_module_as_production(tmp_path: Path) -> None:
    result = survey_of(tmp_path, {**PACKAGE, "shop/settings/heroku.py": "from .base import *\n"})
    assert result.settings["production"] == "shop.settings.heroku"
    with pytest.raises(SurveyError, match=r"2 modules that may be it: heroku, vps\. Name one: "):
        survey_of(tmp_path, {"shop/settings/vps.py": "from .base import *\n"})
    assert (
        survey_of(tmp_path, {}, "shop.settings.vps").settings["production"] == "shop.settings.vps"
    )


def test_survey_prefers_settings_in_the_package_to_its_base_module(tmp_path: Path) -> None:
    files = {**PACKAGE, "shop/settings/__init__.py": "from .base import *\nPAGE = 20\n"}
    del files["shop/settings/dev.py"]
    result = survey_of(tmp_path, {**files, "manage.py": MANAGE.format("shop.settings")})
    assert set(result.settings.values()) == {"shop.settings"}


def test_survey_supports_code_in_another_folder_than_manage_py(tmp_path: Path) -> None:
    files = {
        f"src/{name}" if name.startswith("shop/") else name: text for name, text in PROJECT.items()
    }
    with pytest.raises(SurveyError, match=r"project=\.\./src --data settings=shop\.settings"):
        survey_of(tmp_path, files)
    result = survey(tmp_path / "src", DECIDED, KNOWN, "shop.settings")
    assert result.requirements == (tmp_path / "requirements.txt",)


@pytest.mark.parametrize("module", ["shop.none", "shop/settings.py", "..shop.settings"])
def test_survey_refuses_an_unknown_settings_module(tmp_path: Path, module: str) -> None:
    with pytest.raises(
        SurveyError, match=rf"{re.escape(module)} is no module of .*Candidates: shop\.settings"
    ):
        survey_of(tmp_path, PROJECT, module)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shop/settings.py", b"\xef\xbb\xbf" + SETTINGS.encode()),
        ("shop/settings.py", b"# coding: latin-1\nSHOP = 'caf\xe9'\n" + SETTINGS.encode()),
        ("manage.py", b"# caf\xe9\n" + PROJECT["manage.py"].encode()),
        ("requirements.txt", b"\xef\xbb\xbf-r requirements.txt\nDjango==5.2.3\n"),
        ("shop/page.py/page.html/a.txt", b""),
    ],
)
def test_survey_accepts_files_in_any_encoding_that_python_accepts(
    tmp_path: Path, name: str, text: bytes
) -> None:
    result = survey_of(tmp_path, {**PROJECT, name: text})
    assert (result.urls, result.packages) == ("shop.urls", ("Django==5.2.3",))
    assert list(findings(result)) == []


def test_survey_lists_the_variables_that_settings_read(tmp_path: Path) -> None:
    files = {
        **PACKAGE,
        "shop/settings/base.py": SETTINGS
        + """
import os
import environ
from decouple import config

env = environ.Env(PAGE_SIZE=(int, 20))
SECRET_KEY = os.environ["SITE_KEY"]
DATABASES = {"default": {"NAME": env("SITE_DB"), "HOST": os.getenv("SITE_HOST")}}
DATABASES["default"]["PORT"] = config("SITE_PORT", cast=int)
PAYMENT = os.environ["PAYMENT_TOKEN"]
if config("WITH_SEARCH", default=False, cast=bool):
    SEARCH = env.str("SEARCH_URL")
CACHES = {"default": env.cache()}
SENTRY = os.environ["SENTRY_DSN"]
SIZE = env("PAGE_SIZE")
""",
        "shop/settings/production.py": 'from .base import *\nMAIL = os.environ["MAIL_HOST"]\n',
    }
    result = survey_of(tmp_path, files)
    base, everywhere = "shop.settings.base", frozenset({"local", "dev", "production"})
    assert sorted(result.variables, key=lambda read: read.name) == [
        Read("MAIL_HOST", "shop.settings.production", frozenset({"dev", "production"})),
        Read("PAGE_SIZE", base, frozenset()),
        Read("PAYMENT_TOKEN", base, everywhere),
        Read("SEARCH_URL", base, everywhere),
        Read("WITH_SEARCH", base, frozenset()),
    ]
    assert result.unused == ("CACHE_URL", "SENTRY_DSN", "SITE_DB", "SITE_KEY", "SITE_PORT")


@pytest.mark.parametrize(
    ("name", "text", "application"),
    [
        ("shop/celery.py", 'app = Celery("shop")\n', "shop.celery.app"),
        ("shop/__init__.py", 'queue: Celery = celery.Celery("shop")\n', "shop.queue"),
        ("node_modules/a.py", 'app = Celery("shop")\n', ""),
    ],
)
def test_survey_finds_the_celery_application(
    tmp_path: Path, name: str, text: str, application: str
) -> None:
    assert survey_of(tmp_path, {**PROJECT, name: text}).celery == application


def test_survey_ignores_a_celery_application_in_tests(tmp_path: Path) -> None:
    files = {"a/test_tasks.py": 'fake = Celery("a")\n', "shop/celery.py": 'app = Celery("shop")\n'}
    assert survey_of(tmp_path, {**PROJECT, **files}).celery == "shop.celery.app"


@pytest.mark.parametrize(
    ("files", "packages"),
    [
        (
            {
                "requirements/base.txt": "-r more.txt\nDjango~=5.2.0  # LTS\n",
                "requirements/more.txt": "a==1\n",
            },
            ("a==1", "Django~=5.2.0"),
        ),
        ({"pyproject.toml": '[project]\ndependencies = ["django>=5.2"]\n'}, ("django>=5.2",)),
        (
            {"requirements.txt": "-c fixed.txt\nDjango\n", "fixed.txt": "Django==5.2.1\n"},
            ("Django==5.2.1", "Django"),
        ),
        (
            {
                "Pipfile.lock": """{"default": {
                    "django": {"version": "==5.2.1", "markers": "python_version > '3'"},
                    "celery": {"version": "==5.4.0", "extras": ["redis"]},
                    "bill": {"git": "https://example.com/bill.git", "ref": "a1"},
                    "shop": {"path": ".", "editable": true}, "any": {"version": "*"}}}"""
            },
            (
                "django==5.2.1; python_version > '3'",
                "celery[redis]==5.4.0",
                "bill @ git+https://example.com/bill.git@a1",
                "any",
            ),
        ),
    ],
)
def test_survey_reads_packages_from_every_kind_of_requirements_file(
    tmp_path: Path, files: dict[str, str], packages: tuple[str, ...]
) -> None:
    project = {name: text for name, text in PROJECT.items() if name != "requirements.txt"}
    assert survey_of(tmp_path, {**project, **files}).packages == packages


@pytest.mark.parametrize(
    ("requirement", "series"),
    [
        ("Django", "5.2"),
        ("django>=4.2", "5.2"),
        ("Django==5.2.*", "5.2"),
        ("Django~=6.0", "6.0"),
        ("django[argon2]>=6.1,<6.2", "6.1"),
        ("Django~=6.0.1 ; python_version >= '3.12'", "6.0"),
        ("Django!=5.2.*,<7", "6.0"),
        ("django-filter==2.0", "5.2"),
    ],
)
def test_survey_chooses_the_first_supported_django_series(requirement: str, series: str) -> None:
    assert series_of([requirement, "djangorestframework==1"]) == series


@pytest.mark.parametrize(
    "requirement", ["Django==4.2.30", "django<5.2", "Django>=6.2", "django~=5.1.0"]
)
def test_survey_refuses_an_unsupported_django_version(requirement: str) -> None:
    with pytest.raises(
        SurveyError, match=r"is required, and the stack runs on Django 5\.2, 6\.0, 6\.1"
    ):
        series_of([requirement])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manage.py": ""}, "is not a Django project: it has no manage.py"),
        ({"manage.py": "", "web/manage.py": ""}, "has it: --data project=../web."),
        ({"manage.py": "# django\n"}, "Candidates: shop.settings, site2.settings"),
        ({"shop/settings.py": "INSTALLED_APPS = []\n"}, "does not set ROOT_URLCONF"),
        ({"shop/settings.py": "INSTALLED_APPS = [\n"}, "settings.py line 1 is not valid Python"),
        ({"shop/urls.py": "urlpatterns = [\n"}, "urls.py line 1 is not valid Python"),
        ({"shop/settings.py": 'ROOT_URLCONF = "shop.none"\n'}, "that module does not exist"),
        ({"requirements.txt": "Django==4.2\n"}, "Django==4.2 is required"),
        ({"requirements.txt": "Django\n-c a.txt\n", "a.txt": "django<5\n"}, "Django<5 is required"),
        ({"requirements.txt": "Django\n".encode("utf-16")}, "is not UTF-8. Save it as UTF-8"),
        ({"requirements.txt": "Django\n-e .\n"}, "`-e .`, and the stack's lock cannot name"),
        ({"requirements.txt": "./a[b]\n"}, "`./a[b]`, and the stack's lock cannot name"),
        ({"requirements.txt": "a @ file:///a\n"}, "a @ file:///a`, and the stack's lock cannot"),
        ({"requirements.txt": "-r none.txt\n"}, "none.txt cannot be read: No such file"),
    ],
)
def test_survey_refuses_a_project_that_cannot_be_adopted(
    tmp_path: Path, changes: dict[str, str | bytes], message: str
) -> None:
    with pytest.raises(SurveyError, match=re.escape(message)):
        list(findings(survey_of(tmp_path, {**PROJECT, "site2/settings.py": SETTINGS, **changes})))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("notes.txt", "", "the images would have no package of yours"),
        ("pyproject.toml", "[tool.poetry.dependencies]\ndjango = '^5'\n", "poetry export"),
        ("pyproject.toml", "[project\n", "pyproject.toml is not valid: Expected ']'"),
        ("Pipfile.lock", '{"default":', "Pipfile.lock is not valid: Expecting value"),
        ("Pipfile.lock", '{"default": {"a": {"path": "./a"}}}', "a from the folder ./a. Write"),
    ],
)
def test_survey_refuses_a_project_without_readable_requirements(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    files = {name: text for name, text in PROJECT.items() if name != "requirements.txt"}
    with pytest.raises(SurveyError, match=re.escape(message)):
        survey_of(tmp_path, {**files, name: text})


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"Dockerfile": ""}, "Dockerfile stays as it is"),
        ({"shop/urls.py": 'urlpatterns = [path("", home)]\n'}, "/ is yours"),
        ({"shop/urls.py": 'urlpatterns = [path("profile/", me)]\n'}, "/profile is the stack's"),
        ({"shop/a.html": "<script>1</script><script src=a></script>"}, "Inline scripts: 1."),
        ({"shop/models.py": 'cursor.execute("PRAGMA x")\n'}, "shop/models.py has SQL"),
        ({"shop/settings.py": f'{SETTINGS}INDEX_DIR = "/srv/i"\n'}, "INDEX_DIR: servers can write"),
        (
            {"shop/settings.py": f'{SETTINGS}SEARCH = {{"a": {{"PATH": BASE_DIR / "index"}}}}\n'},
            "SEARCH: servers can write",
        ),
        ({"requirements.txt": "Django==5.2\nchannels==4\n"}, "WebSockets need APP_SERVER=asgi"),
        ({"requirements.txt": "Django==6.1\n"}, "Django 6.1 is required, which needs Python 3.12"),
    ],
)
def test_survey_reports_findings(tmp_path: Path, files: dict[str, str], words: str) -> None:
    (result,) = findings(survey_of(tmp_path, {**PROJECT, **files}))
    assert words in result


def test_survey_reports_a_lock_file_that_it_does_not_read(tmp_path: Path) -> None:
    project = '[project]\ndependencies = ["django==5.2"]\n'
    files = {**PROJECT, "uv.lock": "", "pyproject.toml": project}
    # The versions of requirements.txt are those of the images.
    assert list(findings(survey_of(tmp_path, files))) == []
    (tmp_path / "requirements.txt").unlink()
    (finding,) = findings(survey(tmp_path, DECIDED, KNOWN))
    assert "uv.lock is not read" in finding and "requirements.txt first: uv export" in finding


def test_survey_reports_uncommitted_work_outside_the_stack(tmp_path: Path) -> None:
    with pytest.raises(
        SurveyError, match=r"none is not a folder\. Name the one that has manage\.py"
    ):
        uncommitted(tmp_path / "none", tmp_path / "stack")
    with pytest.raises(SurveyError, match="is not a git repository"):
        uncommitted(tmp_path, tmp_path / "stack")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack/new").touch()
    assert uncommitted(tmp_path, tmp_path / "stack") == ""
    (tmp_path / "work.py").touch()
    assert uncommitted(tmp_path, tmp_path / "stack") == "work.py"
