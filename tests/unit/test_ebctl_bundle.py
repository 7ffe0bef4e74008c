"""The bundle of `eb deploy`: small, complete, and without files that no instance needs."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.documents import run_documented
from tests.tree import ROOT, copy_tree, tracked_files
from tools.ebctl import bundle, certificate, cli, dockerfile, prebuilt
from tools.ebctl.faults import EbctlError
from tools.ebctl.lint import findings_in
from tools.ebctl.lint.container import is_ignored

# Folders and files of an instance, in addition to those that .dockerignore admits.
FOR_THE_PLATFORM = {".dockerignore", ".ebextensions", ".platform", "Dockerfile"}
LARGEST = 1_000_000
DIGEST = f"registry.example.org:5000/team/mysite@sha256:{'0123456789abcdef' * 4}"
EXPANDED = "commit='$Format:%h$'"

# In one process, so that one clone is made; and where cfn-lint's rules are read once.
pytestmark = pytest.mark.xdist_group("faults")


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it printed."""
    return subprocess.run(
        ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commit the present tree in a new clone."""
    folder = copy_tree(tmp_path_factory.mktemp("clone"))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all of it")
    return folder


@pytest.fixture(scope="module")
def archive(clone: Path) -> Path:
    """The bundle that the eb client creates."""
    target = clone.parent / "bundle.zip"
    git(clone, "archive", "--format=zip", "--output", str(target), "HEAD")
    return target


def in_the_image(files: Iterable[str]) -> set[str]:
    """Return the files that .dockerignore lets into the image."""
    rules = (ROOT / ".dockerignore").read_text()
    return {name for name in files if not is_ignored(name, rules)}


def test_bundle_is_smaller_than_1_mb(archive: Path) -> None:
    assert archive.stat().st_size < LARGEST


def test_bundle_has_exactly_the_files_of_the_image_and_the_platform(archive: Path) -> None:
    files = set(bundle.from_zip(archive).files)
    tree = {path.as_posix() for path in tracked_files()}

    assert in_the_image(files) == in_the_image(tree)
    rest = {name.partition("/")[0] for name in files - in_the_image(files)}
    assert rest == FOR_THE_PLATFORM


def test_bundle_includes_a_new_app_and_excludes_private_files(clone: Path) -> None:
    """No list names it; files of the root and hidden files are in no image."""
    rules = (ROOT / ".dockerignore").read_text()

    assert not is_ignored("shop/migrations/0001_initial.py", rules)
    assert not is_ignored("shop/static/shop/shop.css", rules)
    for name in (".env", "dump.sql", "id_ed25519", "shop/.env", "backups/db.sql", "var/db.sqlite3"):
        assert is_ignored(name, rules), name

    attribute = git(clone, "check-attr", "export-ignore", "shop", "shop/models.py")
    assert attribute.count("export-ignore: unspecified") == 2


def test_bundle_matches_the_tree_that_the_linter_reads(clone: Path, archive: Path) -> None:
    sent, read = bundle.from_zip(archive).files, bundle.from_tree(clone).files

    assert sent.keys() == read.keys()
    for name, file in sent.items():
        assert file.executable == read[name].executable, name
        assert file.content == read[name].content or EXPANDED in read[name].text, name


def test_bundle_has_every_file_that_the_dockerfile_copies(archive: Path) -> None:
    files = bundle.from_zip(archive).files
    sources = {source for _, source in dockerfile.copied(files["Dockerfile"].text)}

    assert {".", "nginx/precompress", "requirements/production.txt"} <= sources
    for source in sources - {"."}:
        assert source in files, source


def test_bundle_keeps_scripts_executable(archive: Path) -> None:
    files = bundle.from_zip(archive).files

    for name in ("supervisor/entrypoint", "supervisor/healthcheck", "nginx/start", "manage.py"):
        assert files[name].executable, name


def test_bundle_release_is_the_commit(clone: Path, archive: Path) -> None:
    """/profile/ shows it; the platform passes no build argument."""
    script = bundle.from_zip(archive).files["supervisor/entrypoint"].text
    commit = git(clone, "rev-parse", "--short", "HEAD").strip()

    assert EXPANDED in (clone / "supervisor/entrypoint").read_text()
    assert f"commit='{commit}'" in script


@pytest.mark.parametrize("tool", ["docker-compose.yaml", "tests", "docs", "benchmarks", ".ci"])
def test_bundle_excludes_files_that_no_instance_needs(archive: Path, tool: str) -> None:
    assert (ROOT / tool).exists()
    assert not [name for name in bundle.from_zip(archive).files if name.startswith(tool)]


def test_no_ebignore_makes_the_eb_client_send_the_whole_folder() -> None:
    assert not (ROOT / ".ebignore").exists()


def test_fresh_clone_has_the_configuration_of_the_eb_client(clone: Path) -> None:
    tracked = git(clone, "ls-files", ".elasticbeanstalk").split()

    assert tracked == [
        ".elasticbeanstalk/config.global.yml",
        ".elasticbeanstalk/default.cfg.yml",
    ]
    # The lines that `eb init` would add to .gitignore.
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {
        ".elasticbeanstalk/*",
        "!.elasticbeanstalk/*.cfg.yml",
        "!.elasticbeanstalk/*.global.yml",
    } <= set(ignored)


# A bundle that names a prebuilt image


def test_prebuilt_bundle_names_the_image_and_its_port(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "bundle.zip"
    prebuilt.write(bundle.from_tree(ROOT), DIGEST, target)
    files = bundle.from_zip(target).files
    content = json.loads(files["Dockerrun.aws.json"].text)

    assert content["AWSEBDockerrunVersion"] == "1"
    assert content["Image"]["Name"] == DIGEST
    assert content["Ports"] == [{"ContainerPort": 7999}]
    assert {name.partition("/")[0] for name in files} == {
        "Dockerrun.aws.json",
        ".ebextensions",
        ".platform",
        "nginx",
    }
    assert findings_in(target) == []


BY_FOLDER = re.compile(r'"\$\(dirname "\$0"\)/([^"]+)"')


def test_prebuilt_bundle_has_the_files_that_its_hooks_read(tmp_path: Path) -> None:
    target = tmp_path / "bundle.zip"
    prebuilt.write(bundle.from_tree(ROOT), DIGEST, target)
    sent = bundle.from_zip(target)

    hooks = [*sent.under(".platform/hooks"), *sent.under(".platform/confighooks")]
    read = {
        os.path.normpath(f"{Path(name).parent}/{path}")
        for name, hook in hooks
        for path in BY_FOLDER.findall(hook.text)
    }
    assert "nginx/limits.sh" in read
    assert read <= set(sent.files)


def test_prebuilt_bundle_keeps_hooks_executable(tmp_path: Path) -> None:
    hook = ".platform/hooks/postdeploy/notify"
    files = {
        **bundle.from_tree(ROOT).files,
        hook: bundle.BundleFile(b"#!/bin/sh\n", executable=True),
    }
    target = tmp_path / "bundle.zip"
    prebuilt.write(bundle.Bundle(files), DIGEST, target)
    sent = bundle.from_zip(target).files

    assert sent[hook].executable
    assert not sent[".ebextensions/health.config"].executable


def test_prebuilt_bundle_is_reproducible(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        prebuilt.write(bundle.from_tree(ROOT), DIGEST, tmp_path / name)

    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


@pytest.mark.parametrize(
    "image", ["mysite", "mysite:latest", "mysite@sha256:123", "", f"a b@sha256:{'0' * 64}"]
)
def test_prebuilt_bundle_refuses_an_image_without_a_digest(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "bundle.zip"

    assert cli.main(["bundle", "--image", image, "--output", str(target)]) == cli.FAILED
    assert "A tag can move" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("make eb-bundle IMAGE=REPOSITORY@sha256:...", "--image REPOSITORY@sha256:..."),
        ("make eb-bundle WORKER=1", "--worker"),
    ],
)
def test_make_eb_bundle_runs_ebctl_bundle(tmp_path: Path, command: str, options: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "ebctl").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / "ebctl").chmod(0o755)

    assert run_documented(tmp_path, os.environ, command).split() == ["bundle", *options.split()]


# HTTPS


def test_certificate_arn_adds_a_valid_https_listener(tmp_path: Path) -> None:
    folder = copy_tree(tmp_path / "tree")
    git(folder, "init", "--quiet")
    arn = "arn:aws:acm:eu-central-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef"

    command = (sys.executable, "-m", "tools.ebctl", "https", arn)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)

    assert arn in (folder / certificate.TARGET).read_text()
    assert findings_in(folder) == []


def test_arn_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(EbctlError, match="not the ARN of a certificate"):
        certificate.write(ROOT, "arn:aws:s3:::bucket")
    assert not (ROOT / certificate.TARGET).exists()


# The linter as a command


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as `./ebctl lint` does."""
    return subprocess.run(
        [sys.executable, "-m", "tools.ebctl", "lint", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_lint_of_a_clean_bundle_exits_0(archive: Path) -> None:
    done = lint(archive)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_lint_with_a_finding_prints_a_line_and_exits_1(archive: Path, tmp_path: Path) -> None:
    faulty = Path(shutil.copy(archive, tmp_path / "faulty.zip"))
    with zipfile.ZipFile(faulty, "a") as added:
        added.writestr("docker-compose.yml", "services: {}\n")
    done = lint(faulty)

    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("docker-compose.yml: ") and line.endswith(" [compose]")


@pytest.mark.parametrize("content", [None, b"this is no archive"])
def test_lint_of_a_file_that_is_no_bundle_exits_2(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bundle.zip"
    if content:
        path.write_bytes(content)
    done = lint(path)

    assert (done.returncode, done.stdout) == (2, "")
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("damage", ["content", "checksum", "password", "method", "end"])
def test_lint_of_a_damaged_bundle_exits_2(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("Dockerfile", "EXPOSE 7999\n" * 9)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2")
    match damage:
        case "content":
            data[40:44] = b"\xff" * 4
        case "checksum":
            data[entry + 16] ^= 1
        case "password":
            data[6] |= 1
            data[entry + 8] |= 1
        case "method":
            data[entry + 10] = 99
        case "end":
            del data[20:40]
    path.write_bytes(data)
    done = lint(path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"ebctl: {path}: this .zip cannot be read (")
    assert done.stderr.count("\n") == 1


# The obstacle is a file, because root may write into any folder.
@pytest.mark.parametrize("place", ["file/bundle.zip", "folder"])
def test_bundle_that_cannot_be_written_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    target = tmp_path / place

    assert cli.main(["bundle", "--image", DIGEST, "--output", str(target)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"ebctl: {target} cannot be written: ")
    assert captured.err.endswith("Choose another file: --output FILE\n")


def test_bundle_with_an_unreadable_file_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "some/file")

    monkeypatch.setattr(bundle, "from_tree", refuse)

    assert cli.main(["bundle", "--image", DIGEST, "--output", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err == "ebctl: some/file: Permission denied\n"
