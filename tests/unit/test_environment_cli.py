"""`./manage.py env`, in a copy of the project."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from ops.environment import cli
from ops.environment.variable import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the files that the command reads and writes, and change to the copy."""
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    for name in ("SAMPLE_PATH", "DOCS_PATH", "COMPOSE_PATH"):
        path = tmp_path / getattr(cli, name).relative_to(ROOT)
        shutil.copy(ROOT / path.relative_to(tmp_path), path)
        monkeypatch.setattr(cli, name, path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(project: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command with these arguments and this environment."""

    def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        with patch.dict(os.environ, environ, clear=True):
            try:
                code = cli.main(arguments)
            except SystemExit as exit_of_argparse:
                code = int(str(exit_of_argparse.code))
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return command


def write_env(project: Path, text: str) -> None:
    """Write the project's `.env`, private as `init` makes it."""
    path = project / ".env"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


def test_env_check_of_a_fresh_clone_prints_one_line(run: Run) -> None:
    done = run("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The environment is valid for the local layer (django, stack).\n"


GLOBAL = "fd000000000000000000000000000002 04 40 00 82     eth0\n"
LINK = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n"
LOOPBACK = "00000000000000000000000000000001 01 80 10 80       lo\n"


@pytest.mark.parametrize(
    ("addresses", "reachable"),
    [(LINK + GLOBAL + LOOPBACK, True), (LINK + LOOPBACK, False), ("", False), (None, False)],
)
def test_env_init_lets_visitors_in_by_ipv6_where_the_machine_has_it(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, addresses: str | None, reachable: bool
) -> None:
    if addresses is not None:
        (project / "if_inet6").write_text(addresses)
    monkeypatch.setattr(cli, "ADDRESSES", project / "if_inet6")

    done = run("init", "--layer", "production")

    assert ("\nHTTP_IPV6_ADDRESS=[::]\n" in (project / ".env").read_text()) is reachable
    assert ("by IPv6 too" in done.stdout) is reachable


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"DATABASE_URL": "postgres://user:password@host:5432/name?sslmode=require"}, ""),
        ({"CELERY_BROKER_URL": "confluentkafka://broker:9092"}, ""),
        ({"BROKER": "kafka", "BROKER_HOST": "broker"}, ""),
        ({"DB_ENGINE": "postgres"}, ""),
        ({"DB_ENGINE": "postgrse"}, "Did you mean postgres?"),
    ],
)
@pytest.mark.parametrize("program", ["manage.py", "-mops.environment"])
def test_env_check_needs_no_installed_package(
    program: str, environ: dict[str, str], fault: str
) -> None:
    """As before `make setup`."""
    done = subprocess.run(
        # -S: without the folders of installed packages.
        [sys.executable, "-S", program, *(["env"] * (program == "manage.py")), "check"],
        cwd=ROOT,
        env={"PYTHONDONTWRITEBYTECODE": "1", "DJANGO_READ_DOTENV": "false", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, bool(done.stderr)) == (bool(fault), bool(fault))
    assert fault in done.stderr


def test_env_check_prints_all_faults_on_standard_error(run: Run, project: Path) -> None:
    write_env(project, "LAYER=production\nHTTP_PORT=http\n")
    done = run("check", DJANGO_DEBUG="ture")
    assert (done.returncode, done.stdout) == (1, "")
    for name in ("DJANGO_SECRET_KEY", "STATS_PASSWORD", "DATABASE_URL", "HTTP_PORT"):
        assert f"  {name}: " in done.stderr
    assert "Did you mean true?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "layer"),
    [
        ([], {}, "local"),
        ([], {"LAYER": "dev"}, "dev"),
        ([], {"LAYER": "prodction"}, "production"),
        ([], {"DJANGO_SETTINGS_MODULE": "mysite.settings.dev"}, "dev"),
        ([], {"DJANGO_SETTINGS_MODULE": "mysite.settings.dev", "LAYER": "local"}, "local"),
        (
            ["--scope", "django"],
            {"DJANGO_SETTINGS_MODULE": "mysite.settings.dev", "LAYER": "local"},
            "dev",
        ),
        (["--layer", "production"], {"LAYER": "local"}, "production"),
    ],
)
def test_env_check_uses_the_requested_or_configured_layer(
    run: Run, arguments: list[str], environ: dict[str, str], layer: str
) -> None:
    done = run("check", *arguments, **environ)
    assert f" for the {layer} layer" in done.stdout + done.stderr
    assert done.returncode == (layer != "local")


@pytest.mark.parametrize(
    ("scope", "seen", "unseen"),
    [
        ("django", "DJANGO_SECRET_KEY", "STATS_PASSWORD"),
        ("stack", "STATS_PASSWORD", "DJANGO_SECRET_KEY"),
    ],
)
def test_env_check_of_one_scope_reports_only_its_variables(
    run: Run, scope: str, seen: str, unseen: str
) -> None:
    done = run("check", "--layer", "production", "--scope", scope)
    assert f"  {seen}: " in done.stderr
    assert f"  {unseen}: " not in done.stderr


def test_env_check_warns_of_unknown_names_duplicates_and_permissions_in_dotenv(
    run: Run, project: Path
) -> None:
    """The exit code stays 0; names that other programs read cause no warning."""
    write_env(project, "WHATEVER=hidden\nCOMPOSE_PROFILES=x\nPROFILE=a\nPROFILE=b\n")
    (project / ".env").chmod(0o644)
    done = run("check")
    assert done.returncode == 0
    warnings = done.stderr.splitlines()
    assert sum(line.startswith("warning: ") for line in warnings) == 3
    for part in ("WHATEVER", "PROFILE was already set in line 3", ": .env: other users", "chmod"):
        assert part in done.stderr
    assert "hidden" not in done.stderr
    assert "COMPOSE_PROFILES" not in done.stderr


def test_env_check_of_all_scopes_warns_of_conflicting_values(run: Run, project: Path) -> None:
    run("init", "--layer", "production")
    with (project / ".env").open("a") as file:
        file.write("DJANGO_ALLOWED_HOSTS=www.example.com\n")

    for arguments, warned in (
        ((), True),
        (("--scope", "all"), True),
        (("--scope", "stack"), False),
    ):
        done = run("check", *arguments)
        assert done.returncode == 0, done.stderr
        assert ("warning: DJANGO_SECURE_SSL_REDIRECT: " in done.stderr) is warned


def test_env_check_requires_the_broker_client_only_with_installed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.environment.broker.find_spec", lambda _: None)
    kafka = {"BROKER": "kafka", "BROKER_HOST": "broker"}

    assert run("check", **kafka).returncode == 0
    done = run("check", "--installed", **kafka)
    assert (done.returncode, "its client is not installed here" in done.stderr) == (1, True)


def test_env_check_of_the_test_layer_ignores_dotenv(run: Run, project: Path) -> None:
    write_env(project, "not a line\n")
    assert run("check", DJANGO_SETTINGS_MODULE="mysite.settings.test").returncode == 0
    assert run("check", "--layer", "test").returncode == 0
    assert run("check").returncode == 1


@pytest.mark.parametrize("layer", ["local", "dev", "production"])
def test_env_init_writes_a_private_file_and_names_missing_values(
    run: Run, project: Path, layer: str
) -> None:
    """Whatever the umask, only its owner can read it."""
    done = run("init", "--layer", layer)
    assert done.returncode == 0, done.stderr
    path = project / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ("DJANGO_ALLOWED_HOSTS" in done.stdout) is (layer != "local")
    for line in path.read_text().splitlines():
        name, _, value = line.partition("=")
        if name.endswith(("KEY", "PASSWORD")):
            assert value
            assert value not in done.stdout
    checked = run("check")
    assert checked.returncode == (layer != "local")
    assert checked.stderr.count("\n  D") == (layer != "local")
    with path.open("a") as file:
        file.write("DJANGO_ALLOWED_HOSTS=www.example.com\n")
    assert run("check").returncode == 0


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling link"])
def test_env_init_never_overwrites_a_file_or_link(run: Run, project: Path, kind: str) -> None:
    path, target = project / ".env", project / "target"
    if kind == "file":
        path.write_text("mine")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(target)
        if kind == "link":
            target.write_text("mine")
    done = run("init")
    assert done.returncode == 1
    assert "exists" in done.stderr
    assert done.stdout == ""
    if kind in {"file", "link"}:
        assert path.read_text() == "mine"
    assert target.exists() == (kind == "link")


def test_env_init_writes_to_the_given_path(run: Run, project: Path) -> None:
    assert run("init", "--path", "other.env").returncode == 0
    assert "\nLAYER=local\n" in (project / "other.env").read_text()
    assert not (project / ".env").exists()
    done = run("init", "--path", "no/such/folder/.env")
    assert done.returncode == 1
    assert "no/such/folder/.env: No such file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "environ", "value"),
    [
        ("RUN_PORT", {}, "8000"),
        ("RUN_PORT", {"RUN_PORT": "9000"}, "9000"),
        ("DJANGO_DEBUG", {"DJANGO_DEBUG": "yes"}, "true"),
        (
            "DJANGO_DEBUG",
            {"LAYER": "production"},
            "true",
        ),  # `manage.py` on the host uses the local layer
        ("DJANGO_DEBUG", {"DJANGO_SETTINGS_MODULE": "mysite.settings.production"}, "false"),
        ("HTTP_ADDRESS", {"LAYER": "production"}, "0.0.0.0"),
        ("DJANGO_ALLOWED_HOSTS", {"DJANGO_ALLOWED_HOSTS": "a, b"}, "a,b"),
        ("DB_ENGINE", {"DB_ENGINE": "django.db.backends.mysql"}, "mysql"),
        ("DB_HOST", {}, ""),
    ],
)
def test_env_get_prints_the_value_or_its_default(
    run: Run, name: str, environ: dict[str, str], value: str
) -> None:
    """In the form that other programs read."""
    done = run("get", name, **environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{value}\n", "")


def test_env_get_and_check_prefer_the_process_to_dotenv(run: Run, project: Path) -> None:
    write_env(project, "RUN_PORT=1\nDJANGO_DEBUG=ture\n")
    assert run("get", "RUN_PORT").stdout == "1\n"
    assert run("get", "RUN_PORT", RUN_PORT="2").stdout == "2\n"
    assert run("check", DJANGO_DEBUG="true").returncode == 0


@pytest.mark.parametrize(
    ("name", "environ", "message"),
    [
        ("DJANGO_SECRET_KEY", {"DJANGO_SECRET_KEY": "hidden"}, "never printed"),
        ("DATABASE_URL", {"DATABASE_URL": "hidden"}, "never printed"),
        ("RUN_PORTS", {}, "not a variable"),
        ("RUN_PORT", {"RUN_PORT": "x"}, "Use a whole number from 1 to 65535."),
    ],
)
def test_env_get_refuses_secrets_unknown_names_and_invalid_values(
    run: Run, name: str, environ: dict[str, str], message: str
) -> None:
    check_refusal(run, name, environ, message)


def test_env_get_refuses_a_malformed_dotenv(run: Run, project: Path) -> None:
    write_env(project, "hidden line\n")
    check_refusal(run, "RUN_PORT", {}, ".env line 1: ")


def check_refusal(run: Run, name: str, environ: dict[str, str], message: str) -> None:
    done = run("get", name, **environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "hidden" not in done.stderr


@pytest.mark.parametrize(
    ("command", "file", "text"),
    [
        ("sample", ".env.sample", "Signs sessions"),
        ("docs", "docs/environment.md", "Signs sessions"),
        ("compose", "docker-compose.environment.yaml", "target: /run/secrets/DB_PASSWORD"),
    ],
)
def test_env_check_option_compares_generated_files_and_the_command_rewrites_them(
    run: Run, project: Path, command: str, file: str, text: str
) -> None:
    """With `--check`, the command writes nothing."""
    path = project / file
    run(command)
    good = path.read_text()
    done = run(command, "--check")
    assert (done.returncode, done.stdout) == (0, f"{file} matches the contract.\n")
    path.write_text(good.replace(text, "Sings"))
    done = run(command, "--check")
    assert done.returncode == 1
    assert f"`./manage.py env {command}`" in done.stderr
    assert path.read_text() != good
    assert run(command).stdout == f"Wrote {file}.\n"
    assert path.read_text() == good


def test_env_docs_without_the_page_or_its_marks_prints_one_message(run: Run, project: Path) -> None:
    (project / "docs" / "environment.md").write_text("# Something else\n")
    done = run("docs")
    assert done.returncode == 1
    assert "docs/environment.md: it has no lines" in done.stderr
    (project / "docs" / "environment.md").unlink()
    done = run("docs")
    assert done.returncode == 1
    assert "environment.md: No such file" in done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["chek"], ["check", "--layer", "prod"], ["init", "--layer", "test"]]
)
def test_env_prints_its_usage_on_wrong_arguments(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: ./manage.py env" in done.stderr
