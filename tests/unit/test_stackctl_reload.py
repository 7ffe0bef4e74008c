"""stackctl's reload, without an engine: what is kept, what HAProxy says, what is wrong."""

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

# What HAProxy 3.0 answers to `show servers state`: server2 is drained by hand, and so is the server
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


def kept(servers: dict[tuple[str, str], Address]) -> list[list[str]]:
    """Return the rows of the state file, each as its words."""
    version, *rows = kept_state.state_file(ANSWER, servers).splitlines()
    assert version == "1"
    return [row.split() for row in rows]


def test_condition_and_address_are_kept_of_every_server() -> None:
    rows = kept(SERVERS)

    assert [row[:7] for row in rows] == [
        ["5", "dynamic_backend", "1", "server1", "172.18.0.3", "2", "0"],
        ["5", "dynamic_backend", "2", "server2", "172.18.0.4", "2", "8"],
        ["6", "static_backend", "1", "server2", "172.18.0.4", "2", "16"],
    ]
    # HAProxy takes a row of no less than 20 words; TLS and the check's address come after them.
    assert {len(row) for row in rows} == {20}


def test_server_that_a_user_drained_is_told_from_one_that_tracks_it() -> None:
    assert list(kept_state.drained_by_hand(ANSWER)) == [("dynamic_backend", "server2")]


def test_row_that_is_cut_short_is_left_out() -> None:
    head, _, row = ANSWER.rstrip().rpartition("\n")
    short = " ".join(row.split()[: kept_state.RECORD])

    assert kept_state.state_file(f"{head}\n{short}\n", SERVERS).count("\n") == 3


def test_only_lines_of_servers_are_read_as_such() -> None:
    dump = """backend dynamic_backend
    server server1 server1:7999 check
    http-request set-header Host internal:80
    server template
frontend site
    server server9 server9:7999
"""
    found = dict(configuration._servers(dump.splitlines()))

    assert found == {("dynamic_backend", "server1"): Address("server1", 7999)}


def test_where_a_server_is_is_for_the_new_configuration_to_say() -> None:
    changed = {**SERVERS, ("dynamic_backend", "server1"): Address("server1", 8000)}
    changed["dynamic_backend", "server2"] = Address("elsewhere", 7999)

    one, two, _ = kept(changed)

    assert (one[4], one[18]) == ("172.18.0.3", "8000")
    # The address was another name's.
    assert (two[4], two[18]) == ("-", "7999")


def test_a_server_that_the_new_configuration_does_not_name_is_left_out() -> None:
    assert [row[3] for row in kept({("dynamic_backend", "server1"): Address("server1", 7999)})] == [
        "server1"
    ]


@pytest.mark.parametrize(
    "answer", ["", "Unknown command: its words are many", "2\n# other\n1 2 3\n"]
)
def test_an_answer_of_another_kind_is_refused(answer: str) -> None:
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
    """Return what the check makes of HAProxy's words; all addresses can be listened on."""

    def execute(identity: str, *command: str, stdin: str | None = None) -> process.Result:
        if command[0] == "perl":
            return process.Result(0, "", "")
        if command[0] == "sh":
            # The secrets in files.
            return process.Result(0, "word of a file\n", "")
        # With -dC it ends with 2 also when all is right.
        return process.Result(2, out, "") if "-dC" in command else process.Result(code, "", err)

    monkeypatch.setattr(engine, "execute", execute)
    return configuration.check(container(environ={"STATS_PASSWORD": "pass word"}))


@pytest.mark.parametrize("secret", ["pass word", "word of a file"])
def test_a_refused_configuration_is_told_in_haproxys_words(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    with pytest.raises(StackctlError) as refused:
        haproxy_says(monkeypatch, 1, "", BROKEN.replace("pass word", secret))

    told = refused.value.hint.splitlines()
    assert told[0] == "parsing [haproxy/haproxy.cfg:18]: unmatched quote below:"
    assert told[1] == '  stats auth "admin:***'
    assert secret not in refused.value.hint
    assert told[-1] == "Correct it, then: ./stackctl reload"
    assert "nothing was changed" in refused.value.problem


def test_an_accepted_configuration_gives_its_servers_and_warnings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = "\n".join(line for line in BROKEN.splitlines() if line.startswith("[WARNING]"))

    accepted = haproxy_says(monkeypatch, 0, DUMP, said)

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
def test_the_addresses_that_are_bound_are_found(line: str, expected: list[tuple[str, int]]) -> None:
    assert listening.addresses(["frontend site ", f"\t{line} "]) == expected


def test_an_address_that_cannot_be_bound_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "192.0.2.1 8081 Cannot assign requested address\n"
    monkeypatch.setattr(engine, "execute", lambda *_, **__: process.Result(0, said, ""))

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


def test_the_processes_that_serve_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy.Balancer, "master", lambda *_: PROCESSES)

    assert haproxy.Balancer("id").workers() == haproxy.HaproxyWorkers(72, (46, 8))


def seen(status: str) -> haproxy.BalancedServer:
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
        # It was being started anyway.
        ("DOWN", "UP", ""),
        ("MAINT (resolution)", "UP", ""),
    ],
)
def test_after_a_reload_each_server_is_what_it_was(before: str, after: str, wrong: str) -> None:
    found = reload.changed({"server1": seen(before)}, {"server1": seen(after)})

    assert bool(found) == bool(wrong)
    assert wrong in "".join(found)


def test_a_server_that_the_configuration_lost_on_purpose_is_not_missed() -> None:
    assert reload.changed({"server1": seen("UP")}, {}) == []


@pytest.mark.parametrize(
    ("answer", "restored"),
    [("\nSuccess=1\n--\n", []), ("\nSuccess=0\n--\n", ["dynamic_backend/server1 2"])],
)
def test_what_waits_is_handed_over_at_the_moment_of_a_reload(
    monkeypatch: pytest.MonkeyPatch, answer: str, restored: list[str]
) -> None:
    """A worker that serves on after all has its limits again."""
    asked: list[str] = []
    commanded: list[str] = []

    def master(_: haproxy.Balancer, *lines: str) -> str:
        asked.extend(lines)
        return answer

    monkeypatch.setattr(haproxy.Balancer, "master", master)
    monkeypatch.setattr(haproxy.Balancer, "command", lambda _, *lines: commanded.extend(lines))
    limited = dataclasses.replace(seen("UP"), limit=2)

    said = haproxy.Balancer("id").reload({"server1": limited, "boundless": seen("UP")})

    assert said == answer.strip()
    assert asked == [
        f"@1 set maxconn server dynamic_backend/server1 {haproxy.FORMER_LIMIT}",
        "reload",
    ]
    assert commanded == [f"set maxconn server {limit}" for limit in restored]


def test_no_master_socket_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is older than the socket in the compose file."""
    gone = process.Result(2, "", "/var/lib/haproxy/master.sock: No such file or directory")
    monkeypatch.setattr(engine, "execute", lambda *_, **__: gone)

    with pytest.raises(StackctlError) as refused:
        haproxy.Balancer("id").workers()

    assert "No such file" in refused.value.problem
    assert reload.NEW_CONTAINER in refused.value.hint
