"""`./stackctl check` reports the faults of an adopted project's pages, each with its line."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.environment.contract import VARIABLES
from tests.adopt.adopting import adopt_project
from tests.adopt.store import create_store
from tests.stack.compose import docker
from tests.stack.stackctl.site import git
from tests.waiting import eventually

# Settings of the folder's own stack, which the stack of the check must not use.
DOTENV = "HTTP_PORT=1\nDB_PASSWORD=x\nDATABASE_URL=mysql://u:p@192.0.2.1/db\nTLS_CERTIFICATE=none\n"
VIEWS = """import time

from django.http import HttpResponse
from django.shortcuts import render


def broken(request):
    total = 1
    return HttpResponse(total / 0)


def slow(request):
    time.sleep(60)


def page(request, name):
    return render(request, f"{name}.html")
"""
FAULTY = """{% load static %}<title>faulty</title>
<script>
  document.title = "{{ request.path }}";
  document.title += " and more";
</script>
<script src="/static/gone.js"></script>
<script src="{% static "app.js" %}"></script>
{% if user.is_staff %}
<a href="/staff/">staff</a>
{% endif %}
"""
PAGES = {
    "good": "<p>good</p>",
    "faulty": FAULTY,
    "entry": '{% load static %}\n<script src="{% static "unknown.js" %}"></script>\n',
}
# (kind, place) -> parts of the problem and of the change that the check reports.
FAULTS = {
    ("error", "../api/views.py:9"): ("/broken/ answers 500: ZeroDivisionError", "total / 0"),
    ("error", "../templates/entry.html:2"): ("/entry/ answers 500", '{% static "unknown.js" %}'),
    ("slow", "../api/views.py:12"): ("/slow/ needs more than 20 s", "REQUEST_SECONDS"),
    ("missing", "../templates/faulty.html:6"): ("/static/gone.js", '{% static "gone.js" %}'),
    ("policy", "../templates/faulty.html:4"): (
        "would block an inline script on /faulty/",
        'store_stack/settings/base.py: CONTENT_SECURITY_POLICY_PATHS = {"/faulty/": {"script-src": '
        "[\"'unsafe-inline'\"]}}",
    ),
    ("console", "../static/app.js:2"): ("on /faulty/: ReferenceError", ""),
    ("link", "../templates/home.html:3"): ("/nowhere/ answers 404, and / links to it", "link"),
    ("link", "../templates/faulty.html:9"): ("/staff/ answers 404, and /faulty/ links", "link"),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Create an adopted project whose `.env` belongs to another stack."""
    folder = create_store(tmp_path_factory.mktemp("check") / "store")
    adopt_project(folder, "store_stack")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "the stack")
    stack = folder / "stack"
    (stack / ".env").write_text(DOTENV)
    yield stack
    assert (stack / ".env").read_text() == DOTENV


def start_check(stack: Path, *options: str) -> subprocess.Popen[str]:
    """Start `stackctl check`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tools.stackctl", "check", "--json", *options],
        cwd=stack,
        env={key: value for key, value in os.environ.items() if key not in VARIABLES},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_result(process: subprocess.Popen[str], stack: Path, code: int) -> dict[str, Any]:
    """Return the result of the check, and assert that its stack is removed."""
    out, err = process.communicate(timeout=400)
    assert process.returncode == code, err[-5000:] + out
    name = f"check-{hashlib.sha256(str(stack).encode()).hexdigest()[:8]}"
    assert list_leftovers(name) == ""
    result: dict[str, Any] = json.loads(out)
    return result


def list_leftovers(name: str) -> str:
    """Return the containers, volumes, networks and images of a stack."""
    kinds = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
    ids = [docker(*kind, "--quiet", "--filter", f"name={name}") for kind in kinds]
    return "".join([*ids, docker("image", "ls", "--quiet", "--filter", f"reference={name}-*")])


def test_check_of_a_project_without_faults_has_no_findings(stack: Path) -> None:
    result = wait_for_result(start_check(stack, "--pages", "8", "--no-sign-in"), stack, 0)

    assert (result["findings"], result["pages"]) == ([], 8)


def test_check_lists_each_fault_with_the_line_to_change(stack: Path) -> None:
    root = stack.parent
    (root / "api/views.py").write_text(VIEWS)
    (root / "static/app.js").write_text("const a = 1;\nnothing.here();\n")
    for name, text in PAGES.items():
        (root / f"templates/{name}.html").write_text(text)
    links = "".join(f'<a href="/{name}/">.</a>' for name in (*PAGES, "broken", "slow"))
    with (root / "templates/home.html").open("a") as home:
        home.write(f'{links}\n<a href="/nowhere/">nowhere</a>\n')
    urls = [f'path("{name}/", views.page, {{"name": "{name}"}}),' for name in PAGES]
    urls += [f'path("{name}/", views.{name}),' for name in ("broken", "slow")]
    with (root / "mysite/urls.py").open("a") as file:
        file.write(f"\nfrom api import views\n\nurlpatterns += [{''.join(urls)}]\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "faults")

    findings = wait_for_result(start_check(stack, "--pages", "50"), stack, 1)["findings"]

    assert {(finding["kind"], finding["place"]) for finding in findings} == set(FAULTS), findings
    for finding in findings:
        problem, change = FAULTS[finding["kind"], finding["place"]]
        assert problem in finding["problem"], finding
        assert change in " ".join(finding["change"]), finding


def test_interrupted_check_leaves_no_containers_or_images(stack: Path) -> None:
    process = start_check(stack)
    name = f"check-{hashlib.sha256(str(stack).encode()).hexdigest()[:8]}"
    database = ("ps", "--quiet", "--filter", f"name={name}-production-db")
    eventually(lambda: docker(*database), seconds=90, what="the database is started")

    process.send_signal(signal.SIGINT)

    assert wait_for_result(process, stack, 130)["error"] == "interrupted"
