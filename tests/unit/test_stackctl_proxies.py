"""stackctl commands in a stack with TLS, and in one with Apache."""

import pytest

from tests.unit.scripted.model import Reply
from tests.unit.scripted.stack import Stack

BROKEN = Reply(1, out="the certificate is for other.example\nMake another: make certs\n")


@pytest.fixture
def tls(stack: Stack) -> Stack:
    """Return a stack with a certificate."""
    environment = {"TLS_CERTIFICATE": "certs/site.pem"}
    ports = [{"host_ip": "127.0.0.1", "target": 8443, "published": "4443"}]
    stack.extra = {
        "certificates": {"image": "haproxy:3.0", "environment": environment},
        "haproxy": {"ports": [*stack.model()["services"]["haproxy"]["ports"], *ports]},
    }
    return stack


@pytest.fixture
def apache(stack: Stack) -> Stack:
    """Return a stack with Apache."""
    stack.extra = {"apache": {"image": "httpd:2.4"}}
    stack.create("apache").started -= 3600
    return stack


def test_doctor_checks_the_certificate(tls: Stack) -> None:
    def row() -> dict[str, object]:
        checks = tls.run("doctor", "--json").result["checks"]
        return next(check for check in checks if check["name"] == "certificate")

    assert row() == {
        **{"name": "certificate", "ok": True, "fact": "right until 2031"},
        **{"problem": "", "next": ""},
    }
    tls.certificate = BROKEN
    assert row() == {
        **{"name": "certificate", "ok": False, "fact": "", "next": "Make another: make certs"},
        "problem": "HAProxy cannot use the certificate: the certificate is for other.example",
    }
    tls.certificate = Reply(1, err="no such service\n")
    assert row()["problem"] == "HAProxy cannot use the certificate: no such service"


def test_reload_installs_the_certificate_before_the_new_process(tls: Stack) -> None:
    ended = tls.run("reload")

    steps = [step for step in tls.steps if "write owner" not in step]
    assert ended.code == 0 and "right until 2031" in ended.err
    assert steps == [
        *("lock reload", "install certificate", "write state", "reload", "remove state"),
    ]


def test_reload_with_an_invalid_certificate_changes_nothing(tls: Stack) -> None:
    tls.certificate = BROKEN

    ended = tls.run("reload", "--json")

    assert ended.code == 1 and "reload" not in tls.steps
    assert ended.result["error"] == (
        "HAProxy cannot use the certificate; nothing was changed, the previous one is in use: "
        "the certificate is for other.example"
    )
    assert ended.result["next"] == "Make another: make certs"


def test_reload_without_a_certificate_installs_none(stack: Stack) -> None:
    stack.extra = {"certificates": {"image": "haproxy:3.0", "environment": {}}}

    assert stack.run("reload").code == 0 and "install certificate" not in stack.steps


def test_drain_also_drains_apache_and_waits_for_its_requests(apache: Stack) -> None:
    apache.apache_requests = [apache.clock.now + 4.0]

    assert apache.run("drain", "server1").code == 0
    assert apache.apache == {"server1": "off"} and apache.clock.now > 1004.4
    assert apache.balancer.up() == ["server2"]

    assert apache.run("ready", "server1").code == 0
    assert apache.apache == {"server1": "on"}


def test_drain_does_not_count_apache_as_a_server_in_service(apache: Stack) -> None:
    apache.balancer.names.append("apache")
    assert apache.run("drain", "server1").code == 0
    assert apache.balancer.up() == ["server2", "apache"]

    ended = apache.run("drain", "server2", "--json")

    assert ended.code == 1
    assert "server2 is the last server in service" in ended.result["error"]
    assert apache.balancer.up() == ["server2", "apache"]


def test_deploy_takes_each_server_out_of_apache_and_back(apache: Stack) -> None:
    seen: list[dict[str, str]] = []
    for server in ("server1", "server2"):
        apache.faults[f"recreate {server} bbbb"] = lambda: seen.append(dict(apache.apache))

    assert apache.deploy("bbbb").code == 0

    assert seen == [{"server1": "off"}, {"server1": "on", "server2": "off"}]
    assert apache.apache == {"server1": "on", "server2": "on"}


@pytest.mark.parametrize("state", ["stopped", "missing"])
def test_drain_ignores_an_apache_that_does_not_run(apache: Stack, state: str) -> None:
    if state == "stopped":
        apache.end("apache", 0)
    else:
        del apache.containers["apache"]

    assert apache.run("drain", "server1").code == 0 and apache.apache == {}


def test_deploy_warns_of_an_apache_with_another_configuration(apache: Stack) -> None:
    apache.extra["apache"] = {"image": "httpd:2.4", "environment": {"UPLOAD_MAX_MB": "37"}}

    ended = apache.deploy("bbbb")

    assert ended.code == 0 and "recreate apache" not in " ".join(apache.steps)
    assert "warning: apache runs with an outdated configuration" in ended.err
    assert "docker compose up --detach --wait --no-deps apache\n" in ended.err
