"""Copies of secret files: each service of compose receives its own, and no others."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.environment import files, secret_files
from ops.environment.contract import VARIABLES

READERS = secret_files.READERS
SECRETS = {name for name, variable in VARIABLES.items() if variable.secret}


@pytest.fixture(autouse=True)
def secrets_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the secrets of a project."""
    readers = {reader: (user, names & SECRETS) for reader, (user, names) in READERS.items()}
    monkeypatch.setattr(secret_files, "READERS", readers)


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Record the owner of each copy, by reader; the tests are not root."""
    given: dict[str, tuple[int, int]] = {}

    def chown(path: Path, user: int, group: int) -> None:
        given[path.parent.name] = (user, group)

    monkeypatch.setattr("os.chown", chown)
    return given


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail on writing to a file that others than its owner may read or run."""
    write = Path.write_text

    def write_text(self: Path, *args: str, **options: str) -> int:
        # A new file has the mode that the umask leaves.
        assert self.stat().st_mode & 0o177 == 0
        return write(self, *args, **options)

    before = os.umask(0)
    monkeypatch.setattr(Path, "write_text", write_text)
    yield
    os.umask(before)


@pytest.fixture
def mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, users: dict[str, tuple[int, int]]
) -> Path:
    """Return the folder of the mounted files; the volumes are next to it."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    for module in (files, secret_files):
        monkeypatch.setattr(module, "MOUNTED", folder)
    monkeypatch.setattr(secret_files, "VOLUMES", tmp_path / "volumes")
    for reader in secret_files.READERS:
        (tmp_path / "volumes" / reader).mkdir(parents=True)
    return folder


def copies(mounted: Path) -> dict[str, dict[str, str]]:
    """Return the files of each reader."""
    volumes = mounted.parent / "volumes"
    return {
        reader.name: {path.name: path.read_text() for path in reader.iterdir()}
        for reader in volumes.iterdir()
    }


def test_each_secret_has_readers_by_default_the_application() -> None:
    read = {name for _, names in secret_files.READERS.values() for name in names}

    # stackctl reads these on the host.
    in_containers = {name for name in SECRETS if not name.startswith("BACKUP_")}
    assert read == in_containers
    own = {"STATS_PASSWORD", "DJANGO_SUPERUSER_PASSWORD", "DB_MIGRATION_PASSWORD"}
    own |= {"ALERTMANAGER_CONFIG"}
    assert secret_files.READERS["application"][1] == in_containers - own


def test_each_reader_receives_only_its_secret_files_and_loses_removed_ones(
    mounted: Path,
    capsys: pytest.CaptureFixture[str],
    users: dict[str, tuple[int, int]],
    request: pytest.FixtureRequest,
) -> None:
    # A leftover of an interrupted copy.
    (mounted.parent / "volumes/db/DB_PASSWORD.new").write_text("of DB")
    for name in SECRETS:
        (mounted / name).write_text(f"of {name}\n")
    request.getfixturevalue("private")
    secret_files.main()

    wanted = {
        reader: {name: f"of {name}" for name in names}
        for reader, (_, names) in secret_files.READERS.items()
    }
    assert copies(mounted) == wanted
    for path in (mounted.parent / "volumes").glob("*/*"):
        assert path.stat().st_mode & 0o777 == 0o400
    application, server = (10001, 10001), (999, 999)
    assert users == {
        **{"application": application, "migrate": application, "haproxy": (99, 99)},
        **{"db": server, "redis": server, "broker": server},
        "alertmanager": (65534, 65534),
    }
    own = sorted(secret_files.READERS["application"][1])
    assert capsys.readouterr().out == f"{secret_files.CHANGED}{', '.join(own)}\n"

    secret_files.main()
    assert capsys.readouterr().out == ""
    (mounted / "REDIS_PASSWORD").unlink()
    (mounted / "REDIS_PASSWORD").symlink_to("/dev/null")
    secret_files.main()
    assert capsys.readouterr().out == f"{secret_files.CHANGED}REDIS_PASSWORD\n"
    assert not [reader for reader, has in copies(mounted).items() if "REDIS_PASSWORD" in has]
    secret_files.main()
    assert capsys.readouterr().out == ""


def test_migration_user_gets_a_random_password_that_lasts(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database and migrate have it, the servers do not."""
    monkeypatch.delenv("DB_MIGRATION_PASSWORD", raising=False)
    secret_files.main()
    made = copies(mounted)["db"]["DB_MIGRATION_PASSWORD"]
    assert len(made) > 30
    has_it = {"db": {"DB_MIGRATION_PASSWORD": made}, "migrate": {"DB_MIGRATION_PASSWORD": made}}
    assert {reader: has for reader, has in copies(mounted).items() if has} == has_it

    secret_files.main()
    assert copies(mounted)["db"] == has_it["db"]

    # Migrate has a variable itself.
    monkeypatch.setenv("DB_MIGRATION_PASSWORD", "given")
    secret_files.main()
    assert copies(mounted)["db"] == {"DB_MIGRATION_PASSWORD": "given"}
    assert copies(mounted)["migrate"] == {}


def test_exporters_and_their_servers_get_the_same_random_password(
    mounted: Path, monkeypatch: pytest.MonkeyPatch, users: dict[str, tuple[int, int]]
) -> None:
    """The application does not have it, and no variable sets it."""
    name = secret_files.EXPORTER
    alone = {reader: (user, names & {name}) for reader, (user, names) in READERS.items()}
    monkeypatch.setattr(secret_files, "READERS", alone)
    monkeypatch.setenv(name, "given")
    secret_files.main()
    made = copies(mounted)["db"][name]
    assert len(made) > 30

    secret_files.main()
    has_it = {reader: has for reader, has in copies(mounted).items() if has}
    assert has_it == {reader: {name: made} for reader in ("db", "redis", "exporter")}
    assert users["exporter"] == (65534, 65534)


def test_secret_files_are_not_copied_outside_of_compose(
    mounted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for reader in (mounted.parent / "volumes").iterdir():
        reader.rmdir()
    (mounted / "DB_PASSWORD").write_text("of the file")

    secret_files.main()

    assert capsys.readouterr().out == ""
    assert copies(mounted) == {}


def test_container_reads_its_secret_file_instead_of_the_sample(mounted: Path) -> None:
    """A file and another value are a fault."""
    variable = VARIABLES["DB_PASSWORD"]
    (mounted / "DB_PASSWORD").write_text("of the file")

    for given in ({}, {"DB_PASSWORD": variable.sample}):
        assert files.text_of(variable, given) == "of the file"
    fault = files.text_of(variable, {"DB_PASSWORD": "another"})
    assert "DB_PASSWORD_FILE: DB_PASSWORD is set too" in str(fault)
