"""Where backups go: variables, restic's environment, and what its errors mean for people."""

from pathlib import Path

import pytest

from tools.stackctl.common import process
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.remote import faults
from tools.stackctl.remote import place as places

PASSWORD = {"BACKUP_PASSWORD": "a password"}
KEYS = {"BACKUP_S3_ACCESS_KEY_ID": "key-id", "BACKUP_S3_SECRET_ACCESS_KEY": "key-secret"}
SSH = {"BACKUP_SSH_KEY": "a key", "BACKUP_SSH_HOST_KEY": "nas ssh-ed25519 AAAA"}
RESTIC = {"RESTIC_PASSWORD": "a password"}


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of `.env`; the environment has no variable of backups."""
    monkeypatch.setattr(process, "ROOT", tmp_path)
    for name in ("BACKUP_TO", *PASSWORD, *KEYS, *SSH):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".env"


def write(env: Path, **values: str) -> None:
    env.write_text("".join(f"{name}='{text}'\n" for name, text in values.items()))


@pytest.mark.parametrize(
    ("to", "given", "environ", "folder"),
    [
        (
            "s3://acme/shop",
            KEYS,
            {
                "RESTIC_REPOSITORY": "s3:https://s3.amazonaws.com/acme/shop",
                "AWS_ACCESS_KEY_ID": "key-id",
                "AWS_SECRET_ACCESS_KEY": "key-secret",
            },
            "",
        ),
        # The machine's role has the keys.
        ("s3:http://nas:9000/b/x", {}, {"RESTIC_REPOSITORY": "s3:http://nas:9000/b/x"}, ""),
        ("sftp://me@nas/x", SSH, {"RESTIC_REPOSITORY": "sftp://me@nas/x", **SSH}, ""),
        ("/mnt/disk", {}, {"RESTIC_REPOSITORY": "/target"}, "/mnt/disk"),
    ],
)
def test_restic_receives_the_variables_of_its_place_alone(
    env: Path, to: str, given: dict[str, str], environ: dict[str, str], folder: str
) -> None:
    others = {**KEYS, **SSH} if folder else {}
    write(env, BACKUP_TO=to, **PASSWORD, **{**others, **given})

    place = places.read()

    assert place is not None and place.name == to and place.folder == folder
    assert place.environ == {**RESTIC, **environ}
    assert place.is_sftp == to.startswith("sftp")
    # Their values are in no message or traceback.
    assert "a password" not in repr(place)


def test_environment_precedes_dotenv_and_an_empty_variable_is_none(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(env, BACKUP_TO="/mnt/first", **PASSWORD)
    monkeypatch.setenv("BACKUP_TO", "/mnt/second")
    monkeypatch.setenv("BACKUP_PASSWORD", "")

    place = places.read()

    assert place is not None and place.name == "/mnt/second"
    assert place.environ["RESTIC_PASSWORD"] == "a password"
    monkeypatch.setenv("BACKUP_TO", "")
    assert places.read("/mnt/third") != places.read()


def test_secret_is_read_from_its_file(env: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the file\n")
    write(env, BACKUP_TO="/mnt/disk", BACKUP_PASSWORD_FILE=str(tmp_path / "secret"))

    place = places.read()
    assert place is not None and place.environ["RESTIC_PASSWORD"] == "of the file"

    (tmp_path / "secret").unlink()
    with pytest.raises(StackctlError, match="BACKUP_PASSWORD_FILE") as raised:
        places.read()
    assert raised.value.hint


def test_wrong_value_of_a_variable_is_refused(env: Path) -> None:
    write(env, BACKUP_KEEP="many")

    with pytest.raises(StackctlError, match="BACKUP_KEEP: ") as raised:
        places.setting("BACKUP_KEEP")
    assert raised.value.hint


def test_no_place_is_named(env: Path) -> None:
    assert places.read() is None


TO = "sftp://me@nas/x"
SSH_SAYS = "subprocess ssh: Permission denied (publickey).\nFatal: unable to open repository"


@pytest.mark.parametrize(
    ("code", "text", "problem", "hint"),
    [
        (12, "Fatal: no key", f"BACKUP_PASSWORD is not the password of the backups in {TO}", "Set"),
        (10, "Fatal: nothing there", f"there are no backups in {TO}: nothing there", "disk"),
        (11, "Fatal: is locked", f"another program uses the backups in {TO}: is locked", "Wait"),
        (1, SSH_SAYS, f"{TO} refuses the key in BACKUP_SSH_KEY", "authorized_keys"),
        (1, "Host key verification failed.", f"{TO} has another host key than", "ssh-keyscan"),
        (1, "Fatal: AccessDenied: no", f"{TO} refuses the keys: AccessDenied: no", "docs/backups"),
        (1, "Fatal: NoSuchBucket", f"there is no such bucket in {TO}", "Create it"),
        (1, "Fatal: No space left on device", "no space is left: No space left", "Free space"),
        (1, '{"message_type":"exit_error","message":"Fatal: bad"}', f"{TO}: bad", "try again"),
        (1, '{"error":{"message":"is busy"}}', f"{TO}: is busy", "try again"),
        (1, "{half", f"{TO}: {{half", "try again"),
        # ssh says why, restic only that it ended; what a stop makes it say is no reason.
        (1, "ssh: connect to host nas: No route\nFatal: EOF", f"{TO}: connect to host nas", ""),
        (1, "Fatal: first\nFatal: second", f"{TO}: second", ""),
        (1, "lost connection\nsignal interrupt received, exiting", f"{TO}: lost connection", ""),
        (1, "", f"{TO}: it printed nothing", ""),
    ],
)
def test_error_of_restic_says_what_and_the_next_step(
    code: int, text: str, problem: str, hint: str
) -> None:
    error = faults.fault(TO, code, text)

    assert error.problem.startswith(problem) and hint in error.hint and error.hint


RETRIED = "Load(<config/>) returned error, retrying after 1s: dial tcp nas:9000: i/o timeout"


def test_place_that_does_not_answer_says_why_it_was_tried_again() -> None:
    error = faults.silent(TO, 60, [RETRIED, "context canceled", "signal terminated received"])

    assert error.problem == f"{TO} does not answer within 60 s: dial tcp nas:9000: i/o timeout"
    assert "network" in error.hint
    assert faults.silent(TO, 60, []).problem == f"{TO} does not answer within 60 s"
    # Refused keys are tried again too, but no network is at fault.
    refused = faults.silent(TO, 60, [RETRIED.replace("i/o timeout", "AccessDenied")])
    assert "refuses the keys" in refused.problem
