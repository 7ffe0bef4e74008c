"""Parts of `stackctl reload` without an engine: state file, configuration, processes."""

import dataclasses
import re

import pytest

from tests.unit.test_stackctl_parts import container
from tools.stackctl.balancer import configuration, haproxy, kept_state, listening
from tools.stackctl.balancer.configuration import Address
from tools.stackctl.commands import reload
from tools.stackctl.common import process
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.docker import engine

# Output of `show servers state` of HAProxy 3.0: server2 is drained by hand, and with it the server
# that tracks it.
ANSWER = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl \
srv_check_port
5 dynamic_backend 1 server1 172.18.0.3 2 0 1 1 9 15 3 3 6 0 0 0 server1 7999 - 0 0 - - 0
5 dynamic_backend 2 server2 172.18.0.4 2 8 1 1 9 15 3 3 6 0 0 0 server2 7999 - 1 80 1.2.3.4 - 0
6 static_backend 1 server2 172.18.0.4 2 16 1 1 9 1 0 2 0 0 0 0 server2 7999 - 0 0 - - 0

"""
SERVERS = {
    ("dynamic_backend", "server1"): Address("server1", 7999),
    ("dynamic_backend", "server2"): Address("server2", 7999),
    ("static_backend", "server2"): Address("server2", 7999),
}


def kept_rows(servers: dict[tuple[str, str], Address]) -> list[list[str]]:
    """Return the rows of the state file, split into words."""
    version, *rows = kept_state.state_file(ANSWER, servers).splitlines()
    assert version == "1"
    return [row.split() for row in rows]


def test_reload_state_file_keeps_state_and_address_of_every_server() -> None:
    rows = kept_rows(SERVERS)

    assert [row[:7] for row in rows] == [
        ["5", "dynamic_backend", "1", "server1", "172.18.0.3", "2", "0"],
        ["5", "dynamic_backend", "2", "server2", "172.18.0.4", "2", "8"],
        ["6", "static_backend", "1", "server2", "172.18.0.4", "2", "16"],
    ]
    # HAProxy requires 20 words in a row; TLS and the check address would follow.
    assert {len(row) for row in rows} == {20}


def test_server_drained_by_hand_is_distinguished_from_one_that_tracks_it() -> None:
    assert list(kept_state.drained_by_hand(ANSWER)) == [("dynamic_backend", "server2")]


def test_reload_state_file_omits_a_truncated_row() -> None:
    head, _, row = ANSWER.rstrip().rpartition("\n")
    short = " ".join(row.split()[: kept_state.RECORD])

    assert kept_state.state_file(f"{head}\n{short}\n", SERVERS).count("\n") == 3


def test_haproxy_configuration_parser_reads_only_server_lines() -> None:
    dump = """backend dynamic_backend
    server server1 server1:7999 check
    http-request set-header Host internal:80
    server template
frontend site
    server server9 server9:7999
"""
    result = dict(configuration._servers(dump.splitlines()))

    assert result == {("dynamic_backend", "server1"): Address("server1", 7999)}


def test_reload_state_file_uses_the_address_of_the_new_configuration() -> None:
    changed = {**SERVERS, ("dynamic_backend", "server1"): Address("server1", 8000)}
    changed["dynamic_backend", "server2"] = Address("elsewhere", 7999)

    one, two, _ = kept_rows(changed)

    assert (one[4], one[18]) == ("172.18.0.3", "8000")
    # The old address belonged to another name.
    assert (two[4], two[18]) == ("-", "7999")


def test_reload_state_file_omits_servers_missing_in_the_new_configuration() -> None:
    assert [
        row[3] for row in kept_rows({("dynamic_backend", "server1"): Address("server1", 7999)})
    ] == ["server1"]


@pytest.mark.parametrize(
    "answer", ["", "Unknown command: its words are many", "2\n# other\n1 2 3\n"]
)
def test_malformed_haproxy_server_state_is_refused(answer: str) -> None:
    first = answer.partition("\n")[0][:20]
    with pytest.raises(ValueError, match=re.escape(f"version {first!r} where 1 belongs")):
        kept_state.state_file(answer, SERVERS)


BROKEN = """[NOTICE]   (95) : haproxy version is 3.0.11
[WARNING]  (95) : config : config: corrupted global server state file '/x' at line 2.
[WARNING]  (95) : config : parsing [/usr/local/etc/haproxy/haproxy.cfg:7] : a warning.
[ALERT]    (95) : config : parsing [/usr/local/etc/haproxy/haproxy.cfg:18]: unmatched quote below:
  stats auth "admin:pass word
             ^
[ALERT]    (95) : config : Fatal errors found in configuration.
"""
DUMP = """global 
	maxconn 4000 
backend dynamic_backend 
	default-server maxconn 2 
	server server1 server1:7999 
	server server2 10.0.0.9:8000 track other/server2 
frontend site 
	bind :8080 
listen both 
	server socket unix@/tmp/socket 
	server six [::1]:80 
	server seven :81 
	server eight host:http 
"""  # noqa: W291 (as HAProxy prints it)


def haproxy_says(
    monkeypatch: pytest.MonkeyPatch, code: int, out: str, err: str
) -> configuration.Configuration:
    """Return the result of the check for this HAProxy output; every address is free."""

    def execute(identity: str, *command: str, stdin: str | None = None) -> process.Result:
        if command[0] == "perl":
            return process.Result(0, "", "")
        if command[0] == "sh":
            # Secrets in files.
            return process.Result(0, "word of a file\n", "")
        # With -dC, HAProxy exits with 2 also for a valid configuration.
        return process.Result(2, out, "") if "-dC" in command else process.Result(code, "", err)

    monkeypatch.setattr(engine, "execute", execute)
    return configuration.check(container(environ={"STATS_PASSWORD": "pass word"}))


@pytest.mark.parametrize("secret", ["pass word", "word of a file"])
def test_invalid_haproxy_configuration_is_reported_without_secrets(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    with pytest.raises(StackctlError) as refused:
        haproxy_says(monkeypatch, 1, "", BROKEN.replace("pass word", secret))

    lines = refused.value.hint.splitlines()
    assert lines[0] == "parsing [haproxy/haproxy.cfg:18]: unmatched quote below:"
    assert lines[1] == '  stats auth "admin:***'
    assert secret not in refused.value.hint
    assert lines[-1] == "Correct it, then: ./stackctl reload"
    assert "nothing was changed" in refused.value.problem


def test_valid_haproxy_configuration_returns_its_servers_and_warnings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = "\n".join(line for line in BROKEN.splitlines() if line.startswith("[WARNING]"))

    accepted = haproxy_says(monkeypatch, 0, DUMP, output)

    assert accepted.warnings == ("parsing [haproxy/haproxy.cfg:7] : a warning.",)
    assert accepted.servers == {
        ("dynamic_backend", "server1"): Address("server1", 7999),
        ("dynamic_backend", "server2"): Address("10.0.0.9", 8000),
        ("both", "six"): Address("[::1]", 80),
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bind :8080", [("0.0.0.0", 8080)]),
        ("bind *:80,127.0.0.1:81 ssl crt /x", [("0.0.0.0", 80), ("127.0.0.1", 81)]),
        ("bind [::1]:80", [("::1", 80)]),
        ("bind :::80 v4v6", [("::", 80)]),
        ("bind ipv4@10.0.0.1:8000-8010", [("10.0.0.1", 8000), ("10.0.0.1", 8010)]),
        ("bind /run/socket", []),
        ("bind unix@/run/a:1", []),
        ("bind quic4@:443", []),
        ("bind-process all", []),
        ("server a a:80", []),
    ],
)
def test_bind_addresses_are_parsed(line: str, expected: list[tuple[str, int]]) -> None:
    assert listening.addresses(["frontend site ", f"\t{line} "]) == expected


def test_reload_reports_an_address_that_cannot_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    output = "192.0.2.1 8081 Cannot assign requested address\n"
    monkeypatch.setattr(engine, "execute", lambda *_, **__: process.Result(0, output, ""))

    with pytest.raises(StackctlError) as refused:
        listening.require("id", ["\tbind 192.0.2.1:8081"], "haproxy/haproxy.cfg")

    assert "bind 192.0.2.1:8081: Cannot assign requested address" in refused.value.hint


PROCESSES = """#<PID>          <type>          <reloads>       <uptime>        <version>
1               master          2 [failed: 0]   0d00h01m28s     3.0.11
# workers
72              worker          0               0d00h00m00s     3.0.11
# old workers
46              worker          1               0d00h00m10s     3.0.11
8               worker          2               0d00h01m20s     3.0.11
# programs

"""


def test_current_and_old_haproxy_workers_are_distinguished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy.Balancer, "master", lambda *_: PROCESSES)

    assert haproxy.Balancer("id").workers() == haproxy.HaproxyWorkers(72, (46, 8))


def balanced(status: str) -> haproxy.BalancedServer:
    by_hand = status == "DRAIN"
    return haproxy.BalancedServer(
        *("server1", status, "L7OK", "10.0.0.1", 0, 0, 0, 0), drained_by_hand=by_hand
    )


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ("UP", "UP", ""),
        ("UP", "UP 1/2", ""),
        ("UP", "DOWN", "HAProxy says DOWN"),
        ("UP", "MAINT (resolution)", "HAProxy says MAINT"),
        ("DRAIN", "DRAIN", ""),
        ("DRAIN", "UP", "./stackctl drain server1"),
        # It was starting.
        ("DOWN", "UP", ""),
        ("MAINT (resolution)", "UP", ""),
    ],
)
def test_reload_reports_servers_whose_state_changed(before: str, after: str, wrong: str) -> None:
    result = reload.changed({"server1": balanced(before)}, {"server1": balanced(after)})

    assert bool(result) == bool(wrong)
    assert wrong in "".join(result)


def test_reload_ignores_a_server_removed_from_the_configuration() -> None:
    assert reload.changed({"server1": balanced("UP")}, {}) == []


@pytest.mark.parametrize(
    ("answer", "restored"),
    [("\nSuccess=1\n--\n", []), ("\nSuccess=0\n--\n", ["dynamic_backend/server1 2"])],
)
def test_reload_raises_maxconn_of_the_old_process_and_restores_it_on_failure(
    monkeypatch: pytest.MonkeyPatch, answer: str, restored: list[str]
) -> None:
    """The old worker that continues to serve gets its limits back."""
    sent: list[str] = []
    restored_limits: list[str] = []

    def master(_: haproxy.Balancer, *lines: str) -> str:
        sent.extend(lines)
        return answer

    monkeypatch.setattr(haproxy.Balancer, "master", master)
    monkeypatch.setattr(
        haproxy.Balancer, "command", lambda _, *lines: restored_limits.extend(lines)
    )
    limited = dataclasses.replace(balanced("UP"), limit=2)

    output = haproxy.Balancer("id").reload({"server1": limited, "boundless": balanced("UP")})

    assert output == answer.strip()
    assert sent == [
        f"@1 set maxconn server dynamic_backend/server1 {haproxy.FORMER_LIMIT}",
        "reload",
    ]
    assert restored_limits == [f"set maxconn server {limit}" for limit in restored]


def test_missing_haproxy_master_socket_names_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container of an earlier compose file."""
    gone = process.Result(2, "", "/var/lib/haproxy/master.sock: No such file or directory")
    monkeypatch.setattr(engine, "execute", lambda *_, **__: gone)

    with pytest.raises(StackctlError) as refused:
        haproxy.Balancer("id").workers()

    assert "No such file" in refused.value.problem
    assert reload.NEW_CONTAINER in refused.value.hint
