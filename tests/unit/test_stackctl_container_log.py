"""How the container log of a failed release is shown: plain text, each traceback once."""

import json

import pytest

from tools.stackctl.checks import answers
from tools.stackctl.common import process
from tools.stackctl.docker import container_log
from tools.stackctl.releases import server_checks

TRACEBACK = """Traceback (most recent call last):
  File "/srv/project/api/views/profile.py", line 44, in get
    profile = active_profile() if request.user.is_staff else public_profile()
                                                             ~~~~~~~~~~~~~~^^
  File "/srv/project/api/profile.py", line 12, in active_profile
    raise RuntimeError("not me")
RuntimeError: not me"""
# Log lines of django_structlog, Django and nginx for one failed request.
DJANGO = [
    json.dumps(
        {
            **{"code": 500, "request": "GET /profile/", "event": "request_failed"},
            **{"level": "error", "exception": TRACEBACK},
        }
    ),
    json.dumps(
        {
            "event": "Internal Server Error: /profile/",
            "level": "error",
            "exception": TRACEBACK,
        }
    ),
    json.dumps({"request": "GET /", "event": "request_finished", "level": "info"}),
    '{"time":"2026","server":"nginx","method":"GET","path":"/profile/","status":500,"bytes":145}',
    '{"time":"2026","server":"nginx","method":"GET","path":"/","status":200,"bytes":683}',
]
# Output of uWSGI for each attempt to start.
UWSGI = [
    "*** Operational MODE: preforking ***",
    *TRACEBACK.replace("RuntimeError", "ImportError").splitlines(),
    "*** no app loaded. GAME OVER ***",
]


def test_failed_request_in_json_is_shown_as_one_plain_traceback() -> None:
    log = container_log.readable("\n".join(DJANGO), 30)

    assert log == (
        f"error: Internal Server Error: /profile/\n{TRACEBACK}\nnginx: GET /profile/: 500"
    )
    assert container_log.raised(log) == "RuntimeError: not me"


def test_traceback_ends_with_any_exception_or_the_end_of_the_log() -> None:
    head, _, _ = TRACEBACK.rpartition("\n")
    log = f"{head}\nE\nnext line\n{head}"

    assert list(container_log._entries(log)) == [f"{head}\nE", "next line", head]


def test_repeated_tracebacks_of_a_restarting_server_are_shown_once() -> None:
    log = container_log.readable("\n".join(UWSGI * 5), 30)

    assert log.count("Traceback") == log.count("ImportError: not me") == 1
    assert container_log.raised(log) == "ImportError: not me"


@pytest.mark.parametrize(("after", "gap"), [(3, False), (28, False), (40, True)])
def test_traceback_before_the_last_lines_is_complete(after: int, gap: bool) -> None:
    lines = [f"line {number}" for number in range(after)]

    log = container_log.readable("\n".join(["head", *TRACEBACK.splitlines(), *lines]), 30)

    assert TRACEBACK in log
    assert ("\n...\n" in log) is gap
    assert log.endswith(f"line {after - 1}")
    assert len(log.splitlines()) <= 30 + 8


@pytest.mark.parametrize(
    "odd",
    ["", "{", '{"event": 5}', '{"exception": ["x"]}', "[1]", "Traceback (most recent call last):"],
)
def test_malformed_log_lines_do_not_break_the_log(odd: str) -> None:
    assert "first" in container_log.readable(f"first\n{odd}", 30)


def test_reason_of_a_failed_release_names_the_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", lambda *_, **__: process.Result(0, "\n".join(DJANGO), ""))
    error = server_checks.failed("server1", "id", "/profile/ answers 500: Server Error (500)")

    assert error.reason == "/profile/ answers 500: Server Error (500): RuntimeError: not me"
    assert "{" not in error.log


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<!doctype html>\n<html><head>\n<title>Server Error (500)</title>", "Server Error (500)"),
        ('{"detail": "The database is away."}', "The database is away."),
        ('{"status": "down"}', '{"status": "down"}'),
        ("plain text\n", "plain text"),
    ],
)
def test_error_responses_are_quoted_as_plain_text(body: str, words: str) -> None:
    answer = {"status": 500, "body": body}

    assert answers.problem("/", answer, "r1", frozenset()) == f"/ answers 500: {words}"
