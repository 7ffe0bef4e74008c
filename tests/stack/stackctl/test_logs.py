"""Logs of containers that a deploy has removed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests import journald
from tests.stack.stackctl.site import ANY, PROJECT, QUICK, Site, visitors
from tests.waiting import eventually

# Docker splits lines of more than 16 KB.
LONG = "x" * 20_000


@contextmanager
def in_journal(site: Site) -> Iterator[None]:
    """Set LOG_DRIVER=journald during the block."""
    site.environment["LOG_DRIVER"] = "journald"
    try:
        yield
    finally:
        del site.environment["LOG_DRIVER"]


def lines_of(site: Site, request: str) -> list[dict[str, Any]]:
    """Return the lines of a request in the logs of servers."""
    found = site.ask("logs", "--request", request, "server1", "server2", code=ANY)
    return list(found.get("lines", ()))


def events(lines: list[dict[str, Any]]) -> set[str]:
    """Return what each line of nginx or Django says."""
    values = [json.loads(line["text"]) for line in lines]
    return {value.get("event") or value["server"] for value in values}


def test_log_lines_of_a_request_outlive_a_deploy_in_the_journal(site: Site) -> None:
    """A long line is found whole, and the other log driver has neither."""
    with journald.running():
        with in_journal(site):
            with visitors(site):
                site.ask("apply", *QUICK)
            answer = site.get("/profile/")
            request = answer.headers["X-Request-ID"]
            served = answer.json()["server"].replace("set", "server")
            container = site.container(served)
            eventually(
                lambda: events(lines_of(site, request)) == {"nginx"},
                seconds=20,
                what="the line of the request is in the journal",
            )
            site.run_in(served, "sh", "-c", f"echo '{request} {LONG} end' >/proc/1/fd/1")
        # Its containers, which the journal's replace, have logs of their own.
        site.ask("deploy", *QUICK, "--force")
        assert container not in site.containers()
        assert lines_of(site, request) == []

        with in_journal(site):
            lines = lines_of(site, request)
            short = [line for line in lines if LONG not in line["text"]]
            (long,) = [line for line in lines if LONG in line["text"]]
            recent = lines_of(site, request[:8])
            none = site.ctl("logs", "--request", request, "worker", code=1)

    assert events(short) == {"nginx"}
    assert long["text"] == f"{request} {LONG} end" and long["container"].startswith(served)
    assert recent == lines
    assert f"no line in the journal has {request}" in none
    assert not any(PROJECT in line["container"] for line in lines)
