"""Variables that a project declares in mysite/environment.py."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ops.environment import project
from ops.environment.variable import Variable
from tests.tree import ROOT

HEAD = "from ops.environment.variable import SHARED, Kind, Variable\n"
GOOD = """VARIABLES = (
    Variable(name="SHOP_KEY", help="The payment service's key.", secret=True, required_in=SHARED),
    Variable(name="SHOP_LIMIT", kind=Kind.INT, help="Items a basket holds.", default="5"),
    Variable(
        name="SHOP_SIZE",
        kind=Kind.INT,
        help="Shelves.",
        required_in=SHARED,
        layer_defaults={"local": "1", "test": "1"},
    ),
)
"""
COMPOSE = [path.name for path in ROOT.glob("docker-compose*.yaml")]
COPIED = (
    *("ops/__init__.py", "ops/environment", "ops/settings", "mysite/__init__.py", "manage.py"),
    *("docs/environment.md", ".env.sample", *COMPOSE),
)


def declare(folder: Path, text: str) -> None:
    """Write the declarations of a project."""
    (folder / "mysite").mkdir(exist_ok=True)
    (folder / "mysite/environment.py").write_text(HEAD + text)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Copy the files that `./manage.py env` needs, and declare three project variables."""
    for name in COPIED:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    declare(tmp_path, GOOD)
    return tmp_path


def env(clone: Path, *arguments: str, code: int = 0, **environ: str) -> str:
    """Run `./manage.py env` without installed packages, and return its output."""
    done = subprocess.run(
        [sys.executable, "-S", "manage.py", "env", *arguments],
        cwd=clone,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_env_write_adds_project_variables_to_all_generated_files(clone: Path) -> None:
    env(clone, "write")

    assert "# required in: dev, production\nSHOP_KEY=\n" in (clone / ".env.sample").read_text()
    assert "| `SHOP_LIMIT` | number | `5` |" in (clone / "docs/environment.md").read_text()
    compose = "".join(path.read_text() for path in clone.glob("docker-compose*.yaml"))
    assert "SHOP_KEY_FILE:-/dev/null" in compose
    env(clone, "write", "--check")


def test_project_superuser_variable_reaches_only_migrate(clone: Path) -> None:
    name = "DJANGO_SUPERUSER_PIN"
    declare(clone, f"VARIABLES = [Variable(name={name!r}, help='', secret=True)]")
    env(clone, "write")

    files = [yaml.safe_load((clone / file).read_text()) for file in COMPOSE]
    result = [service for file in files for service in file.get("services", {}).items()]
    assert [key for key, service in result if name in (service.get("environment") or {})] == [
        "migrate"
    ]
    code = (
        "from ops.environment.secret_files import READERS; "
        f"print([reader for reader, (_, names) in READERS.items() if {name!r} in names])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['migrate']\n"


def test_missing_or_invalid_project_variables_are_reported_with_the_next_step(clone: Path) -> None:
    message = env(clone, "check", "--layer", "production", code=1, SHOP_LIMIT="few")

    assert "SHOP_KEY: it is not set, and production requires it" in message
    assert "Set SHOP_KEY, or SHOP_KEY_FILE to a file that holds it: The payment" in message
    assert "SHOP_LIMIT: 'few' is not a whole number" in message
    assert "SHOP_SIZE: it is not set" in message


def test_misspelt_required_variable_is_one_fault(clone: Path) -> None:
    message = env(clone, "check", "--layer", "production", code=1, SHOP_KEYS="x")

    assert "SHOP_KEYS: it is not used, and SHOP_KEY is not set" in message
    assert "Did you mean SHOP_KEY?" in message
    assert "SHOP_KEY: " not in message


def test_wrong_default_is_one_fault_for_all_layers(tmp_path: Path) -> None:
    declare(tmp_path, "VARIABLES = [Variable(name='SHOP', help='', kind=Kind.INT, default='x')]")
    _, (fault,) = project.read("mysite", (), tmp_path)
    assert fault.problem == "its default is not valid: 'x' is not a whole number"

    layers = "layer_defaults={'dev': 'x', 'test': 'x'}"
    declare(
        tmp_path,
        f"VARIABLES = [Variable(name='SHOP', help='', kind=Kind.INT, default='1', {layers})]",
    )
    _, (fault,) = project.read("mysite", (), tmp_path)
    assert fault.problem.startswith("its default in dev, test is not valid")


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("SHOP = env.int('SHOP', default=5)", 'Your settings read it: env.int("SHOP_LIMIT").'),
        ("from ops import environment; env = environment.load()", "This file only declares"),
        ("from ops.settings.stack import env", "This file only declares"),
        ("import os; SHOP = os.environ['SHOP']", "This file only declares"),
        ("from decouple import config", "read without any package"),
        ("X = Scope", "Import it: from ops.environment.variable import Scope."),
        ("X = Kind.INTEGER", "Use Kind.TEXT, "),
        ("X = Variable('SHOP')", "Its arguments, each by its name: name, kind, "),
        ("X = Variable(name='SHOP', help='', type=int)", "layer_defaults, required_in, secret"),
    ],
)
def test_error_in_the_declarations_names_the_right_form(clone: Path, text: str, step: str) -> None:
    declare(clone, text)

    message = env(clone, "check", code=1)

    assert "mysite/environment.py line 2: " in message and step in message


def test_other_exception_of_validate_is_a_fault_without_the_value(clone: Path) -> None:
    declare(
        clone,
        "def check(text):\n    raise ValueError(text)\n"
        "VARIABLES = [Variable(name='SHOP', help='', validate=check)]",
    )

    message = env(clone, "check", code=1, SHOP="hidden")

    assert "SHOP: its validate() raises ValueError" in message and "InvalidValueError" in message
    assert "hidden" not in message


def test_env_init_leaves_project_secrets_to_fill_in(clone: Path) -> None:
    """A key of another service cannot be generated."""
    message = env(clone, "init", "--layer", "production")

    assert "SHOP_KEY" in message
    assert "\n# FILL IN: The payment service's key.\nSHOP_KEY=\n" in (clone / ".env").read_text()


def test_project_secret_can_come_from_a_file(clone: Path) -> None:
    (clone / "key").write_text("of a file\n")
    message = env(clone, "check", "--layer", "production", code=1, SHOP_KEY_FILE="key")
    assert "SHOP_KEY" not in message


def test_syntax_error_in_project_variables_is_a_fault_with_its_line(clone: Path) -> None:
    declare(clone, "VARIABLES = (\n    Variable(name='X' help='')\n)\n")
    for command in ("check", "write"):
        assert "mysite/environment.py line 3: SyntaxError" in env(clone, command, code=1)


def test_project_variables_with_any_prefix_are_passed_on(clone: Path) -> None:
    """Superuser fields too; multi-line help is one table cell."""
    names = ("DJANGO_SUPERUSER_CITY", "RDS_REPORTS", "KAFKA_TOPIC")
    declare(clone, f"VARIABLES = [Variable(name=n, help='One.\\nTwo.') for n in {names}]")
    env(clone, "write")

    compose = (clone / "docker-compose.environment.yaml").read_text().partition("env-check:")[0]
    for name in names:
        assert f"      {name}:\n" in compose
        assert (
            f"| `{name}` | text | none | - | One. Two. |"
            in (clone / "docs/environment.md").read_text()
        )


@pytest.mark.parametrize("name", ["REDIS_HOST", "REDIS_PASSWORD_FILE"])
def test_project_variable_cannot_have_a_name_of_the_stack(clone: Path, name: str) -> None:
    declare(clone, f"VARIABLES = [Variable(name={name!r}, help='')]")
    assert f"{name}: that name exists already" in env(clone, "check", code=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("VARIABLES = (Variable(nam='X', help=''),)", "line 2: TypeError"),
        ("import nothing_of_that_name", "line 2: ModuleNotFoundError"),
        ("VARIABLES = (", "line 2: SyntaxError"),
        ("VARIABLES = '\0'", "environment.py: SyntaxError: source code string cannot contain null"),
        ("VARIABLES = (Variable(name='SHOP', help=''))", "not a tuple"),
        ("VARIABLES = 1", "not a tuple"),
        ("pass", "not a tuple"),
        ("VARIABLES = [Variable(name='shop-key', help='')]", "capital letters"),
        ("VARIABLES = [Variable(name='DB_HOST', help='')]", "exists already"),
        ("VARIABLES = [Variable(name='PATH', help='')]", "Name it SHOP_PATH."),
        ("VARIABLES = [Variable(name='PYTHONPATH', help='')]", "other programs"),
        ("VARIABLES = [Variable(name='DB_PASSWORD_FILE', help='')]", "exists already"),
        ("VARIABLES = [Variable(name='SHOP', help='')] * 2", "exists already"),
        (
            "VARIABLES = [Variable(name='SHOP', help='', required_in=frozenset({'prodution'}))]",
            "Did you mean production?",
        ),
        (
            "VARIABLES = [Variable(name='SHOP', help='', kind=Kind.INT, default=5)]",
            "default is not",
        ),
        ("VARIABLES = [Variable(name='SHOP', help='', kind=Kind.BOOL, default=True)]", "quotes"),
        (
            "VARIABLES = [Variable(name='SHOP', help='', layer_defaults={'local': 1})]",
            "its default in local is not text",
        ),
        ("VARIABLES = [Variable(name=1, help='')]", "name is not text"),
        ("VARIABLES = [Variable(name='SHOP', help=None)]", "help is not text"),
        ("VARIABLES = [Variable(name='SHOP', help='', kind='int')]", "Kind.TEXT, Kind."),
        ("VARIABLES = [Variable(name='SHOP', help='', required_in='dev')]", "set of layers"),
        ("VARIABLES = [Variable(name='SHOP', help='', required_in=None)]", "set of layers"),
        ("VARIABLES = [Variable(name='SHOP', help='', layer_defaults='1')]", "is not a dict"),
        ("VARIABLES = [Variable(name='SHOP', help='', choices='a,b')]", "is not a tuple"),
        ("VARIABLES = [Variable(name='SHOP', help='', choices=('a',))]", "Add kind=Kind.CHOICE"),
        ("VARIABLES = [Variable(name='SHOP', help='', minimum='1')]", "minimum is not a number"),
        ("VARIABLES = [Variable(name='SHOP', help='', maximum=1)]", "Add kind=Kind.INT"),
        ("VARIABLES = [Variable(name='SHOP', help='', secret=True, default='x')]", "secret"),
        ("VARIABLES = [Variable(name='SHOP', help='', kind=Kind.INT, default='x')]", "not valid"),
        ("VARIABLES = [Variable(name='SHOP', help='', kind=Kind.BOOL)]", "needs a default"),
        (
            "VARIABLES = [Variable(name='SHOP', help='', kind=Kind.PORT, required_in=SHARED)]",
            "needs a default: local, test",
        ),
    ],
)
def test_invalid_project_declaration_is_a_fault(tmp_path: Path, text: str, message: str) -> None:
    declare(tmp_path, text)

    stack = (Variable(name="DB_HOST", help=""), Variable(name="DB_PASSWORD", help="", secret=True))
    _, faults = project.read("mysite", stack, tmp_path)

    assert len(faults) >= 1
    assert message in str(faults[0])
    assert str(faults[0]).startswith("mysite/environment.py")


def test_project_without_environment_py_declares_no_variables(tmp_path: Path) -> None:
    assert project.read("mysite", (), tmp_path) == ((), ())
