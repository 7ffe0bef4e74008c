"""Runs inside a server's container: where a crawl starts, and which line makes what it saw.

Arguments: a mark and what is asked; its input is JSON on standard input. Prints the mark and the
answer as JSON, on one line. `start`: the paths of URLs that need no argument, and the session of a
new superuser. `locate`: for each list of queries the first place that answers one of them, such as
"shop/views.py:12".
"""

import inspect
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.template import engines
from django.test import Client
from django.urls import NoReverseMatch, URLResolver, get_resolver, resolve, reverse
from django.urls.resolvers import RoutePattern

# The project's own files; SOURCE_ROOT where it has a folder next to the stack's.
STACK = Path("/srv/project")
ROOT = Path(os.environ.get("SOURCE_ROOT", STACK))
NAME = "check@example.com"


def start(sign_in: bool) -> dict[str, Any]:
    """Return what a crawl starts from."""
    result: dict[str, Any] = {"paths": list(dict.fromkeys(paths(get_resolver()))), "cookie": None}
    result["static"] = settings.STATIC_URL
    # An adopted project may send a policy of its own.
    result["rules"] = "ops.csp.ContentSecurityPolicyMiddleware" in settings.MIDDLEWARE
    if sign_in:
        try:
            result["cookie"] = session()
        except Exception as error:  # the user model's own
            result["refused"] = f"{type(error).__name__}: {error}"
    return result


def paths(resolver: URLResolver, prefix: str = "/", spaces: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths that need no argument; one without a name only if its route is plain."""
    for pattern in resolver.url_patterns:
        plain = isinstance(pattern.pattern, RoutePattern) and "<" not in str(pattern.pattern)
        route = f"{prefix}{pattern.pattern}" if prefix and plain else ""
        if isinstance(pattern, URLResolver):
            inner = (*spaces, pattern.namespace) if pattern.namespace else spaces
            yield from paths(pattern, route, inner)
        elif pattern.name:
            try:
                yield reverse(":".join((*spaces, pattern.name)))
            except NoReverseMatch:
                continue
        elif route:
            yield route


def session() -> tuple[str, str]:
    """Return the cookie of a new superuser."""
    users: Any = get_user_model()
    fields = dict.fromkeys((users.USERNAME_FIELD, *users.REQUIRED_FIELDS), NAME)
    user = users._default_manager.create_superuser(**fields, password=secrets.token_urlsafe())
    client = Client()
    client.force_login(user)
    return settings.SESSION_COOKIE_NAME, client.cookies[settings.SESSION_COOKIE_NAME].value


def locate(questions: list[list[tuple[str, str]]]) -> list[str]:
    """Return a place for each list of queries; nothing where no query has an answer."""
    how = {"text": text, "static": static, "view": view}
    return [next(filter(None, (how[kind](what) for kind, what in one)), "") for one in questions]


def text(wanted: str) -> str:
    """Return the line of a template that has a text; the project's own before those of packages."""
    for path, lines in TEMPLATES:
        for number, line in enumerate(lines, start=1):
            if wanted in line:
                return f"{shown(path)}:{number}"
    return ""


def templates() -> list[tuple[Path, list[str]]]:
    """Return all templates."""
    folders = [Path(folder) for engine in engines.all() for folder in engine.template_dirs]
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    ordered = sorted(files, key=lambda path: (not path.is_relative_to(ROOT), path))
    return [(path, path.read_text(errors="replace").splitlines()) for path in ordered]


def static(name: str) -> str:
    """Return the source of a static file, whose name may be hashed; a line behind `:` stays."""
    file, _, line = name.rpartition(":")
    plain = re.sub(r"\.[0-9a-f]{12}(?=\.\w+$)", "", file)
    path = finders.find(file) or finders.find(plain)
    return f"{shown(Path(str(path)))}:{line}" if path else ""


def view(path: str) -> str:
    """Return where the view of a path is."""
    try:
        func: Any = resolve(path.partition("?")[0]).func
        code = getattr(func, "view_class", None) or getattr(func, "cls", None)
        code = code or inspect.unwrap(func)
        return f"{shown(Path(inspect.getsourcefile(code) or ''))}:{inspect.getsourcelines(code)[1]}"
    except Exception:  # no such URL, or a view without a source
        return ""


def shown(path: Path) -> str:
    """Return a file as a person of the project calls it; a package's file by the package."""
    if path.is_relative_to(ROOT):
        return f"{PREFIX}{path.relative_to(ROOT)}"
    if path.is_relative_to(STACK):
        return str(path.relative_to(STACK))
    return str(path).rpartition("/site-packages/")[2]


if __name__ == "__main__":
    django.setup()
    mark, action, given = sys.argv[1], sys.argv[2], json.load(sys.stdin)
    PREFIX = given.get("prefix", "")
    if action == "start":
        answer: object = start(given["sign_in"])
    else:
        TEMPLATES = templates()
        answer = locate(given["queries"])
    print(f"\n{mark}{json.dumps(answer)}", flush=True)
