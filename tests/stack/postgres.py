"""Questions to a stack with PostgreSQL: as the application, the superuser or a visitor."""

import json
import re
import subprocess

from tests.stack.compose import Stack
from tests.stack.stackctl.site import Site

SETUP = "import django; django.setup()\nfrom django.db import connection as c\n"


def facts(stack: Stack, sql: str) -> list[object]:
    """Return the first row of a query of the application user."""
    code = f"{SETUP}cursor = c.cursor(); cursor.execute({sql!r})\n"
    row: list[object] = json.loads(
        stack.python_in("server1", f"{code}import json; print(json.dumps(cursor.fetchone()))")
    )
    return row


def asked(stack: Stack, server: str, path: str, token: str = "", **form: str) -> str:
    """Send a request directly to one server, and return the body."""
    headers = {"Host": "localhost", **({"Authorization": f"Token {token}"} if token else {})}
    return stack.python_in(
        "worker",
        "from urllib import parse, request\n"
        f"data = parse.urlencode({form!r}).encode() or None\n"
        f"asked = request.Request('http://{server}:7999{path}', data, {headers!r})\n"
        "print(request.urlopen(asked, timeout=10).read().decode())",
    )


def as_superuser(stack: Stack, sql: str) -> str:
    """Run SQL as the superuser, who can connect only inside the container."""
    psql = ("psql", "--username=postgres", "--no-align", "--tuples-only", "--command", sql)
    return stack.run_in("db", *psql, "mysite").strip()


def compose_process(stack: Stack, *arguments: str) -> subprocess.Popen[str]:
    """Start `docker compose` with pipes."""
    return subprocess.Popen(
        ["docker", "compose", "--project-name", stack.project, *arguments],
        cwd=stack.tree,
        env=stack.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def cluster(site: Site) -> str:
    """Dump the whole server with roles, without the table that the worker writes constantly."""
    dump = site.run_in("db", "pg_dumpall", "--username=postgres", "--restrict-key=x")
    return re.sub(r"(?s)COPY public\.ops_workerbeat.*?\\\.\n", "", dump)


def sorted_lines(text: str) -> list[str]:
    """Return the sorted lines of a dump, since the order of settings varies."""
    return sorted(text.splitlines())
