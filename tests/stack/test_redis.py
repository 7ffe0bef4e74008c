"""Redis: persistence, refused commands, passwords, and throttling across servers."""

import json

import pytest

from ops.environment.contract import VARIABLES
from tests.stack.compose import Stack, contains_secret, docker
from tests.stack.services import components, stopped
from tests.tree import ROOT
from tests.waiting import eventually

# Prints the status and Retry-After of each attempt.
TRY_PASSWORDS = """
import json, sys, urllib.error, urllib.request

request = urllib.request.Request(
    "http://haproxy:8080/api/token/",
    data=b"username=unknown&password=guess",
    headers={"Host": "localhost"},
)

def answer():
    try:
        urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers["Retry-After"]

print(json.dumps([answer() for _ in range(int(sys.argv[1]))]))
"""
COUNT = """
import django; django.setup()
import redis
from ops import environment
url = environment.redis_url(environment.load(), environment.COUNTER)
print(redis.Redis.from_url(url).{command}("kept"))
"""


def test_counter_survives_redis_being_killed(production: Stack) -> None:
    counted = production.python_in("server1", COUNT.format(command="incr")).split()[-1]

    docker("kill", "--signal", "KILL", production.container("redis"))
    production.compose("up", "--detach", "--wait", "--no-deps", "redis")

    kept = production.python_in("server2", COUNT.format(command="get")).split()[-1]
    assert kept == f"b'{counted}'"


def test_servers_share_the_throttling_of_a_client(production: Stack) -> None:
    """With separate counts, each server would see half of the requests and refuse none."""
    limit = int(VARIABLES["THROTTLE_LOGIN"].default.split("/")[0])
    # From another address, so that the other tests are not throttled.
    answers = json.loads(
        production.run_in("worker", "python", "-c", TRY_PASSWORDS, str(3 * limit // 2))
    )

    statuses = [status for status, _ in answers]
    assert statuses.count(400) <= limit
    assert set(statuses) == {400, 429}
    assert int(answers[-1][1]) >= 1


def test_healthz_reports_a_stopped_worker(production: Stack) -> None:
    assert components(production)["worker"] == "up"

    with stopped(production, "worker"):
        eventually(
            lambda: components(production)["worker"] == "down",
            seconds=60,
            what="healthz reports the worker as down",
        )


# Writes more than 4 MB of expiring keys, then of other keys, until Redis refuses a write.
FILL = """
redis-server /usr/local/etc/redis/redis.conf --dir /tmp --maxmemory 4mb >/dev/null &
until redis-cli ping >/dev/null 2>&1; do sleep 0.1; done
fill() {
    write="redis.call('set', '$1' .. i, ('x'):rep(1000), $2)"
    redis-cli eval "for i = 1, 5000 do $write end" 0 >/dev/null
}
redis-cli rpush queue message >/dev/null
fill cached "'EX', 600"
until [ "$(redis-cli dbsize)" -lt 5000 ]; do redis-cli get cached1 >/dev/null; sleep 0.1; done
redis-cli lpop queue
redis-cli rpush queue message >/dev/null
fill kept "'GET'"
until redis-cli rpush queue refused | grep -o OOM; do sleep 0.1; done
redis-cli lpop queue
"""


def test_full_redis_evicts_the_cache_then_refuses_writes_and_keeps_messages(
    production: Stack,
) -> None:
    folder, image = f"{production.tree}/redis", production.inspect("redis", "{{.Config.Image}}")
    output = docker(
        *("run", "--rm", "--volume", f"{folder}:/usr/local/etc/redis:ro", "--tmpfs", "/tmp"),
        *("--entrypoint", "timeout", image, "60", "sh", "-c", FILL),
    )

    assert output.split() == ["message", "OOM", "message"]


# One command a line.
AS_USER = "REDISCLI_AUTH=$REDIS_PASSWORD redis-cli --user "
REFUSED_BY_REDIS = (
    *("CONFIG GET *", "CONFIG SET dir /tmp", "CONFIG REWRITE", "REPLICAOF 10.0.0.9 6379"),
    *("SLAVEOF NO ONE", "KEYS *", "FLUSHALL", "SWAPDB 0 1", "DEBUG SLEEP 0", "MODULE LIST"),
    *("MODULE LOAD /tmp/x.so", "ACL LIST", "ACL SETUSER mysite +@all", "SHUTDOWN NOSAVE"),
    *("SAVE", "BGREWRITEAOF", "MONITOR", "CLIENT LIST", "CLIENT KILL TYPE normal", "INFO"),
    *("CLIENT PAUSE 1", "MIGRATE 10.0.0.9 6379 a 0 9", "RESTORE a 0 x", "SCRIPT FLUSH"),
    *("EVAL 'return 1' 0", "FUNCTION LIST", "CLUSTER INFO", "SLOWLOG GET", "LATENCY DOCTOR"),
)


@pytest.mark.parametrize("user", ["mysite", "default"])
def test_redis_refuses_commands_that_the_application_does_not_need(
    production: Stack, user: str
) -> None:
    sign_in = AS_USER + user
    output = production.run_in(
        *("redis", "sh", "-c", 'printf "%s\\n" "$@" | ' + sign_in, "sh"),
        *REFUSED_BY_REDIS,
        check=False,
    )
    answers = [line for line in output.splitlines() if line]

    assert len(answers) == len(REFUSED_BY_REDIS), output
    # Redis refuses two of them to all users.
    off = ("ERR DEBUG command not allowed", "ERR MODULE command not allowed")
    assert all(line.startswith(("NOPERM", *off)) for line in answers), output
    # Scripts, as the worker sends them, cannot run them either.
    sha = "$(" + sign_in + " script load \"return redis.call('FLUSHALL')\")"
    run = f"{sign_in} evalsha {sha} 0"
    assert "ACL failure in script" in production.run_in("redis", "sh", "-c", run, check=False)


# Shell functions for a separate Redis container.
SERVE = """
    hash_of() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
    serve() {
        /usr/local/etc/redis/start >/dev/null &
        for _ in $(seq 200); do
            ! redis-cli ping || break
            sleep 0.05
        done >/dev/null 2>&1
    }
    accepted() {
        for password in former rotated by-hand; do
            said=$(REDISCLI_AUTH=$password redis-cli --user mysite ping 2>&1)
            [ "$said" != PONG ] || echo "$password"
        done
    }
"""


def redis_alone(script: str, password: str) -> list[str]:
    """Run a script in a separate Redis container; return its output lines."""
    output = docker(
        *("run", "--rm", "--network", "none", "--user", "999:999"),
        *("--volume", f"{ROOT / 'redis'}:/usr/local/etc/redis:ro", "--entrypoint", "sh"),
        *("--volume", f"{ROOT / 'tools/stackctl/inside'}:/inside:ro"),
        *("--env", "REDIS_USERNAME=mysite", "--env", f"REDIS_PASSWORD={password}"),
        *("redis:8.0", "-c", SERVE + script),
    )
    return output.splitlines()


@pytest.mark.parametrize(("variable", "accepted"), [("former", "rotated"), ("by-hand", "by-hand")])
def test_redis_starts_with_rotated_password_until_variable_changes(
    variable: str, accepted: str
) -> None:
    """The volume has the previous and the new password, as after `./stackctl rotate`."""
    run = 'echo "$(hash_of former) #$(hash_of rotated)" >/data/passwords; serve; accepted'

    assert redis_alone(run, variable) == [accepted]


def test_redis_that_restarts_during_a_rotation_accepts_both_passwords() -> None:
    """Servers that are not recreated yet use the previous password."""
    run = """
        serve
        echo rotated | bash /inside/redis.sh accept
        kill $! && wait
        serve
        accepted
        echo rotated | bash /inside/redis.sh retire
        accepted
    """

    assert redis_alone(run, "former") == ["former", "rotated", "rotated"]


def test_redis_requires_its_password_and_does_not_expose_it(production: Stack) -> None:
    assert "NOAUTH" in production.run_in("redis", "redis-cli", "ping", check=False)
    for user in ("mysite", "default"):
        guess = f"REDISCLI_AUTH=guess redis-cli --user {user} ping 2>&1"
        assert "WRONGPASS" in production.run_in("redis", "sh", "-c", guess, check=False)
        output = production.run_in("redis", "sh", "-c", f"{AS_USER}{user} ping")
        assert output.strip() == "PONG"
    command = production.run_in("redis", "sh", "-c", "cat /proc/[0-9]*/cmdline")
    assert not contains_secret(command, production.environment["REDIS_PASSWORD"])
    assert "redis-server" in command
    # The administrator has its own secret, which only Redis can read.
    mode = production.run_in("redis", "stat", "--format", "%a %u", "/data/administrator")
    assert mode.split() == ["600", "999"]
