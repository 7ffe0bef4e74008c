"""`stackctl backup` with a place for backups, whose restic is scripted."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from tests.unit.scripted.backups import DISK, PASSWORD, folders, names, save, write_place
from tests.unit.scripted.data import LIVE
from tests.unit.scripted.model import Reply
from tests.unit.scripted.restic import Repository, Snapshot
from tests.unit.scripted.stack import Stack, fails
from tests.unit.scripted.volume import VOLUME
from tools.stackctl.commands import remote_backup

DAY = 86_400


def noted(stack: Stack) -> dict[str, object]:
    """Return what the worker reads of backups."""
    known: dict[str, object] = json.loads(stack.volumes[VOLUME]["backup.json"])
    return known


def test_backup_saves_the_dump_and_the_files_in_the_place(away: Stack) -> None:
    ended = save(away)

    assert ended.code == 0 and folders(away) == [] and not away.locks
    (one,) = away.places.repositories[DISK].snapshots
    assert one.host == "shop" and one.files["/srv/files/media/a.png"] == b"A"
    assert one.files["/srv/dump/database.sql"].startswith(b"a.png\n")
    assert one.files["/srv/dump/extras.sql"] == b"GRANT"
    assert json.loads(one.files["/srv/dump/manifest.json"])["release"] == "aaaa"
    # Left behind by a restore that was killed.
    assert set(one.excluded) == {
        f"/srv/files/{folder}/{left}"
        for folder in ("media", "private")
        for left in (".restoring", ".replaced")
    }
    assert (ended.result["name"], ended.result["place"]) == (one.tag, DISK)
    assert ended.result["path"] == f"{DISK}#{one.tag}"
    # What was sent, compressed; not what it was before.
    assert ended.result["new_bytes"] == 7 and ended.result["bytes"] > 7


def test_backup_saves_the_volume_of_each_folder(away: Stack) -> None:
    save(away)

    (volumes,) = [given.volume for given, *_ in away.places.containers if given.name]
    assert {"shop_media:/srv/files/media:ro", "shop_private:/srv/files/private:ro"} <= {*volumes}


def test_backup_is_refused_where_a_folder_is_no_volume(away: Stack) -> None:
    """A folder of the machine, in an override file: its files would be in no backup."""
    media = {"type": "volume", "source": "media", "target": "/srv/media"}
    bind = {"type": "bind", "source": "/srv/files", "target": "/srv/private"}
    away.extra["server1"] = {"volumes": [media, bind]}

    ended = save(away)

    assert ended.code == 1 and folders(away) == []
    assert ended.result["error"] == "no volume is mounted at /srv/private in server1"
    assert away.places.repositories[DISK].snapshots == []


def test_upload_does_not_hold_the_lock_of_the_stack(away: Stack) -> None:
    """It may take hours."""
    save(away)

    assert away.places.locked_while_saving is False
    # The database is saved inside it.
    assert away.steps.index("lock backup") < away.steps.index("database dump")


def test_restic_runs_without_privileges_and_its_secrets_are_in_no_argument(away: Stack) -> None:
    save(away)

    for given, environ, _ in away.places.containers:
        assert given.read_only and given.rm and given.cap_drop == ["ALL"]
        assert given.cap_add == ["DAC_OVERRIDE"]
        assert given.security_opt == ["no-new-privileges:true"]
        # By this name restic knows which locks are this machine's.
        assert given.hostname == "shop.machine-1"
        assert environ["RESTIC_PASSWORD"] == PASSWORD
        assert f"shop_backup-cache:{environ['RESTIC_CACHE_DIR']}" in given.volume
    assert not any(PASSWORD in call for call in away.calls)


def test_image_of_restic_is_built_once(away: Stack) -> None:
    save(away)
    assert "build restic" in away.steps

    save(away)
    assert "build restic" not in away.steps


def test_first_backup_warns_that_the_password_is_needed_and_later_ones_do_not(
    away: Stack,
) -> None:
    warning = "the first backups in /mnt/disk: keep a copy of BACKUP_PASSWORD"

    assert warning in save(away).err
    assert warning not in save(away).err


def test_place_that_has_lost_its_backups_is_refused(away: Stack) -> None:
    """An empty disk at the mount point must not become the place of backups."""
    save(away)
    away.places.repositories.clear()

    ended = save(away)

    assert ended.code == 1 and "there are no backups in /mnt/disk" in ended.result["error"]
    assert not away.places.repositories and "database dump" not in away.steps


def test_missing_folder_is_refused_before_the_database_is_saved(away: Stack) -> None:
    away.places.folders.clear()

    ended = save(away)

    assert ended.code == 1 and ended.result["error"] == "there is no folder /mnt/disk"
    assert "database dump" not in away.steps and not away.places.repositories


def test_other_password_is_refused_before_the_database_is_saved(away: Stack) -> None:
    away.places.repositories[DISK] = Repository("another")

    ended = save(away)

    assert ended.code == 1 and "BACKUP_PASSWORD is not the password" in ended.result["error"]
    assert "database dump" not in away.steps


def test_lock_of_a_crashed_backup_of_this_machine_is_removed(away: Stack) -> None:
    save(away)
    away.places.repositories[DISK].locks = {"shop.machine-1"}

    assert save(away).code == 0


def test_place_that_another_machine_uses_is_named(away: Stack) -> None:
    save(away)
    away.places.repositories[DISK].locks = {"shop.elsewhere"}

    ended = save(away)

    assert ended.code == 1 and "another program uses the backups" in ended.result["error"]
    assert "30 minutes" in ended.result["next"]


def test_backup_is_refused_while_another_one_is_saved(away: Stack) -> None:
    save(away)
    away.saving = "shop-backup"

    ended = save(away)

    assert ended.code == 1 and "another backup of shop is being saved" in ended.result["error"]
    assert "docker stop shop-backup" in ended.result["next"] and len(names(away)) == 1


def test_file_that_a_visitor_deletes_meanwhile_is_no_failure(away: Stack) -> None:
    away.places.unread = ["media/gone.png: lstat gone.png: no such file or directory"]

    assert save(away).code == 0 and len(names(away)) == 1


def test_backup_without_a_file_that_cannot_be_read_is_not_kept(away: Stack) -> None:
    save(away)
    away.places.unread = ["media/b.png: read b.png: input/output error", "media/c.png: the same"]

    ended = save(away)

    assert ended.code == 1 and len(names(away)) == 1
    assert ended.result["error"] == (
        "2 files could not be read, and the backup was not kept; the first is "
        "/srv/files/media/b.png: read b.png: input/output error"
    )


@pytest.mark.parametrize(
    "reply", [Reply(1, err="Fatal: write: no space left on device"), Reply(0, err="no summary")]
)
def test_backup_without_a_snapshot_is_a_failure(away: Stack, reply: Reply) -> None:
    away.faults["restic save"] = lambda: reply

    ended = save(away)

    assert ended.code == 1 and ended.result["next"] and names(away) == []
    assert folders(away) == [] and not away.locks


def test_incomplete_dump_is_not_sent(away: Stack) -> None:
    away.faults["database dump"] = lambda: Reply(data=b"half a")

    ended = save(away)

    assert ended.code == 1 and "the database dump is incomplete" in ended.result["error"]
    assert "restic save" not in away.steps and folders(away) == []


def test_verified_backup_is_loaded_before_it_is_sent_and_the_place_is_checked(away: Stack) -> None:
    ended = save(away, "--verify")

    assert ended.result["verified"] and list(away.data.rows) == [LIVE]
    order = [away.steps.index(step) for step in ("database load stackctl_verify", "restic save")]
    assert order == sorted(order) and away.steps.index("restic check") > order[1]

    ended = save(away)
    assert not ended.result["verified"]
    assert not {"restic check", "database load stackctl_verify"} & set(away.steps)


def test_weekly_checks_read_all_stored_data_within_ten_weeks(
    away: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for week in range(10):
        day = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(weeks=week)
        monkeypatch.setattr(remote_backup, "datetime", SimpleNamespace(now=lambda _, at=day: at))
        assert save(away, "--verify").code == 0

    checks = {command[-1] for _, _, command in away.places.containers if "check" in command}
    assert checks == {f"--read-data-subset={part}/10" for part in range(1, 11)}


def test_verified_backup_that_differs_is_not_sent(away: Stack) -> None:
    away.faults["database dump stackctl_verify"] = lambda: Reply(data=b"another")

    ended = save(away, "--verify")

    assert ended.code == 1 and "differs from the database" in ended.result["error"]
    assert "restic save" not in away.steps


@pytest.mark.parametrize(("lines", "options"), [((), ("--keep", "2")), (("BACKUP_KEEP=2",), ())])
def test_keep_removes_old_backups_of_this_stack_alone(
    away: Stack, lines: tuple[str, ...], options: tuple[str, ...]
) -> None:
    write_place(away, *lines)
    save(away, "--keep", "9")
    of_others = [Snapshot(f"{n}" * 64, "other", f"2020010{n}T000000Z", {}) for n in range(1, 4)]
    away.places.repositories[DISK].snapshots[:0] = of_others
    for _ in range(2):
        save(away, "--keep", "9")
    mine = names(away)[3:]

    newest = save(away, *options).result["name"]

    assert names(away) == [*(one.tag for one in of_others), mine[-1], newest]
    command = next(c for _, _, c in away.places.containers[::-1] if "forget" in c)
    # Without it the space stays in use.
    assert "--prune" in command


def test_failed_backup_removes_no_old_one(away: Stack) -> None:
    save(away)
    away.faults["restic save"] = fails("Fatal: the server went away")

    assert save(away, "--keep", "1").code == 1
    assert len(names(away)) == 1 and "restic forget" not in away.steps


def test_local_backup_ignores_the_place(away: Stack) -> None:
    assert save(away, "--local").code == 0

    assert len(folders(away)) == 1 and not away.places.repositories
    assert "backup.json" not in away.volumes.get(VOLUME, {})


def test_backup_to_another_place_once_leaves_the_schedule_alone(away: Stack) -> None:
    """The worker warns of backups of BACKUP_TO alone."""
    away.places.folders.add("/mnt/second")

    assert save(away, "--to", "/mnt/second").code == 0

    assert len(names(away, "/mnt/second")) == 1 and DISK not in away.places.repositories
    assert "backup.json" not in away.volumes.get(VOLUME, {})


def test_wrong_place_on_the_command_line_is_wrong_usage(away: Stack) -> None:
    ended = save(away, "--to", "ftp://somewhere")

    assert ended.code == 2 and ended.result["error"].startswith("--to: 'ftp://somewhere' is no")


def test_good_backup_is_noted_for_the_worker(away: Stack) -> None:
    name = save(away).result["name"]

    known = noted(away)
    assert (known["place"], known["name"], known["problem"]) == (DISK, name, "")
    assert "verified" not in known and "scheduled" not in known
    assert isinstance(known["succeeded"], float)
    assert 0 <= away.clock.now - known["succeeded"] < 10


@pytest.mark.parametrize("text", ["[1]", "{half", ""])
def test_damaged_note_is_replaced(away: Stack, text: str) -> None:
    away.volumes.setdefault(VOLUME, {})["backup.json"] = text

    assert save(away).code == 0 and noted(away)["place"] == DISK


def test_failed_backup_is_noted_when_a_timer_runs_it(away: Stack) -> None:
    save(away, "--scheduled")
    away.faults["restic save"] = fails("Fatal: the server went away")

    assert save(away).code == 1
    assert noted(away)["problem"] == ""

    assert save(away, "--scheduled").code == 1
    known = noted(away)
    assert known["problem"] == "/mnt/disk: Fatal: the server went away".replace("Fatal: ", "")
    assert known["next"] and known["scheduled"] is True
    # What was known before stays.
    assert known["failed"] > known["succeeded"]  # type: ignore[operator]

    away.faults.clear()
    save(away)
    assert noted(away)["problem"] == "" and noted(away)["scheduled"] is True


def test_scheduled_backup_is_verified_once_a_week(away: Stack) -> None:
    verified = []
    away.clock.now += 30 * DAY
    for _ in range(8):
        verified.append(save(away, "--scheduled").result["verified"])
        away.clock.now += DAY - 3600

    assert verified == [True, *[False] * 6, True]


def test_scheduled_backup_prints_its_result_alone(away: Stack) -> None:
    assert "saving the database" in away.run("backup").err

    ended = away.run("backup", "--scheduled")

    (line,) = (ended.out + ended.err).splitlines()
    assert f"saved {names(away)[-1]} in {DISK}" in line
