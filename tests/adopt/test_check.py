"""`./stackctl check`: a browser's findings on an adopted project's pages, each with its line."""

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
from tests.adopt.adopting import adopt
from tests.adopt.store import start
from tests.stack.compose import docker
from tests.stack.stackctl.site import git
from tests.waiting import eventually

# What a stack of this folder may have, and the check's own has not.
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
# By its kind and place: a part of the problem, and of the change.
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
    """An adopted project, whose `.env` is another stack's."""
    folder = start(tmp_path_factory.mktemp("check") / "store")
    adopt(folder, "store_stack")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "the stack")
    stack = folder / "stack"
    (stack / ".env").write_text(DOTENV)
    yield stack
    assert (stack / ".env").read_text() == DOTENV


def begin(stack: Path, *options: str) -> subprocess.Popen[str]:
    """Start the check."""
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


def ended(process: subprocess.Popen[str], stack: Path, code: int) -> dict[str, Any]:
    """Return the check's result; nothing of its stack is left."""
    out, err = process.communicate(timeout=400)
    assert process.returncode == code, err[-5000:] + out
    name = f"check-{hashlib.sha256(str(stack).encode()).hexdigest()[:8]}"
    assert left(name) == ""
    result: dict[str, Any] = json.loads(out)
    return result


def left(name: str) -> str:
    """Return the containers, volumes, networks and images of a stack."""
    kinds = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
    found = [docker(*kind, "--quiet", "--filter", f"name={name}") for kind in kinds]
    return "".join([*found, docker("image", "ls", "--quiet", "--filter", f"reference={name}-*")])


def test_a_project_without_faults_has_no_findings(stack: Path) -> None:
    found = ended(begin(stack, "--pages", "8", "--no-sign-in"), stack, 0)

    assert (found["findings"], found["pages"]) == ([], 8)


def test_each_fault_is_listed_with_the_line_to_change(stack: Path) -> None:
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

    found = ended(begin(stack, "--pages", "50"), stack, 1)["findings"]

    assert {(one["kind"], one["place"]) for one in found} == set(FAULTS), found
    for one in found:
        problem, change = FAULTS[one["kind"], one["place"]]
        assert problem in one["problem"], one
        assert change in " ".join(one["change"]), one


def test_an_interrupt_leaves_nothing_behind(stack: Path) -> None:
    process = begin(stack)
    name = f"check-{hashlib.sha256(str(stack).encode()).hexdigest()[:8]}"
    database = ("ps", "--quiet", "--filter", f"name={name}-production-db")
    eventually(lambda: docker(*database), seconds=90, what="the database is started")

    process.send_signal(signal.SIGINT)

    assert ended(process, stack, 130)["error"] == "interrupted"
