"""How long each step of a command may take before stackctl gives it up."""

import pytest

from tests.unit.scripted.stack import Stack

# Enough memory to start all servers next to the present ones, in KiB.
MEMORY = 8_000_000
# The longest, in seconds, of each step of a deploy: a slow machine is no fault of the release.
DEPLOY = {
    "build bbbb": 1800,
    "lint migrations": 180,
    "migrate": 7200,
    "keep static bbbb": 180,
    "start server1 server2 worker bbbb next to it": 180,
    "ask server2": 225,
}


@pytest.fixture
def roomy(stack: Stack) -> Stack:
    """Return a stack whose next release has a migration, with memory for all servers twice."""
    stack.replicas.available = MEMORY
    stack.data.migrations["bbbb"] = ["shop.0002"]
    return stack


@pytest.mark.parametrize(("step", "limit"), DEPLOY.items(), ids=DEPLOY)
def test_deploy_waits_for_a_slow_step(roomy: Stack, step: str, limit: int) -> None:
    roomy.takes[step] = limit - 1

    assert roomy.deploy("bbbb").code == 0
    assert step in roomy.steps and roomy.serves("bbbb")


@pytest.mark.parametrize(("step", "limit"), DEPLOY.items(), ids=DEPLOY)
def test_deploy_gives_up_a_step_that_never_ends(roomy: Stack, step: str, limit: int) -> None:
    roomy.takes[step] = limit + 1

    ended = roomy.deploy("bbbb")

    assert ended.code != 0 and f"did not end within {limit} s" in ended.result["error"]
    assert roomy.serves("aaaa")


@pytest.mark.parametrize("request_seconds", [20, 600])
def test_graceful_stop_of_the_former_servers_may_take_two_requests(
    roomy: Stack, request_seconds: int
) -> None:
    roomy.containers["server1"].environ["REQUEST_SECONDS"] = str(request_seconds)
    step = "stop former server1 server2 worker"
    roomy.takes[step] = 179 + 2 * request_seconds

    ended = roomy.deploy("bbbb")

    assert ended.code == 0 and "a former container is left" not in ended.err
    assert roomy.steps.count(step) == 1


@pytest.mark.parametrize("command", ["up", "down"])
def test_up_and_down_wait_as_long_as_services_may_start_and_stop(
    stack: Stack, command: str
) -> None:
    for seconds, code in ((519, 0), (521, 1)):
        stack.takes[command] = seconds
        assert stack.run(command).code == code
