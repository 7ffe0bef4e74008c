"""The findings that `./stackctl check` reports for browser events, with the line to change."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.urls import get_resolver

from ops.environment import faults
from ops.environment.variable import Variable
from tests.unit.test_stackctl_preflight import Machine
from tools.stackctl.commands import check
from tools.stackctl.crawl.browser import CHANGES
from tools.stackctl.crawl.findings import Event, Where, findings, lines, queries
from tools.stackctl.inside import site

SITE = "http://localhost:4000"
TRACEBACK = """Traceback (most recent call last):
  File "/opt/venv/lib/python3.13/site-packages/django/core/handlers/base.py", line 197, in _get
    response = wrapped_callback(request, *callback_args)
  File "/srv/project/shop/views.py", line 12, in pay
    charge(order)
  File "/srv/project/shop/bank.py", line 7, in charge
    return rates[order.currency]
  File "/srv/project/ops/database/watched.py", line 40, in execute
    return super().execute(sql)
KeyError: 'EUR {cent}'
"""
NO_FILE = """Traceback (most recent call last):
  File "/opt/venv/lib/python3.13/site-packages/django/contrib/staticfiles/storage.py", line 9, in x
    "Missing staticfiles manifest entry for '%s'" % clean_name
ValueError: Missing staticfiles manifest entry for 'shop/app.js'
"""
WHERE = Where(
    origin=SITE,
    static="/static/",
    seconds=20,
    root="/srv/project/",
    tracebacks={"id-1": TRACEBACK, "id-2": NO_FILE},
)


def event(kind: str, page: str, **fields: Any) -> Event:
    return {"kind": kind, "page": page, **fields}


def blocked(page: str, directive: str, source: str, text: str = "", **fields: Any) -> Event:
    seen = {"directive": directive, "source": source, "file": "", "line": 1, "enforced": True}
    return event("policy", page, **{**seen, "text": text, **fields})


def report_of(
    *events: Event, places: tuple[str, ...] = (), where: Where = WHERE
) -> list[list[str]]:
    """Return the findings as lines of text."""
    result = findings(events, places or ("",) * len(events), where)
    return [[line.strip() for line in lines(one)] for one in result]


def test_failed_request_names_the_last_traceback_line_in_project_code() -> None:
    failed = event("error", "/pay/", target="/pay/", status=500, request="id-1")

    assert report_of(failed, places=("shop/views.py:9",)) == [
        [
            "/pay/ answers 500: KeyError: 'EUR {cent}'",
            "shop/bank.py:7: in charge: return rates[order.currency]",
        ]
    ]


def test_failed_request_names_files_of_an_adopted_project_relative_to_the_stack() -> None:
    where = Where(
        SITE,
        "/static/",
        20,
        "/srv/app/",
        "../",
        tracebacks={"id-1": re.sub("/srv/project/shop", "/srv/app/shop", TRACEBACK)},
    )
    failed = event("error", "/", target="/rates/", status=500, request="id-1")

    assert report_of(failed, where=where)[0] == [
        "/rates/ answers 500, requested by /: KeyError: 'EUR {cent}'",
        "../shop/bank.py:7: in charge: return rates[order.currency]",
    ]


def test_same_exception_on_several_pages_is_one_finding() -> None:
    failed = [
        event("error", page, target=page.partition("?")[0], status=500, request="id-1")
        for page in ("/pay/", "/pay/?by=card", "/cart/", "/a/", "/b/")
    ]

    ((problem, _),) = report_of(*failed)

    assert problem == "/pay/, /cart/, /a/ and 1 more answers 500: KeyError: 'EUR {cent}'"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("ProgrammingError: no such table\nLINE 1: SELECT 1\n        ^", "no such table LINE 1"),
        ("TemplateSyntaxError: 'x' is no library. One of:\nadmin\ntz", "'x' is no library. One of"),
        ("ValueError", "ValueError"),
    ],
)
def test_multi_line_exception_is_shown_by_its_first_lines(message: str, shown: str) -> None:
    cause = TRACEBACK.replace("KeyError", "TypeError")
    during = "\nDuring handling of the above exception, another exception occurred:\n\n"
    logged = TRACEBACK.rpartition("KeyError")[0] + message
    where = replace(WHERE, tracebacks={"id-1": f"{cause}{during}{logged}"})
    failed = event("error", "/pay/", target="/pay/", status=500, request="id-1")

    ((problem, change),) = report_of(failed, where=where)

    assert shown in problem and "TypeError" not in problem
    assert change.startswith("shop/bank.py:7")


def test_control_characters_in_a_finding_are_replaced() -> None:
    failed = event("console", "/", text="\x1b[2J \ud800 ☃ {pages} {0}", file="", line=0)

    (((problem),),) = report_of(failed)

    assert problem == "a script fails on /: \ufffd[2J \ufffd ☃ {pages} {0}"


def test_values_of_project_secrets_are_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("of-a-file\n")
    (tmp_path / ".env").write_text(f"BANK_KEY=of-dotenv\nTAX_KEY_FILE={tmp_path}/key\n")
    names = ("BANK_KEY", "TAX_KEY", "OTHER_KEY")
    variables = [Variable(name=name, help="A key.", secret=True) for name in names]
    monkeypatch.setattr(check, "PROJECT", variables)
    monkeypatch.setattr(check.process, "ROOT", tmp_path)
    monkeypatch.setenv("OTHER_KEY", "of-the-shell")

    shown = check.without_secrets("refused: of-dotenv, of-a-file, of-the-shell")

    assert shown == "refused: <BANK_KEY>, <TAX_KEY>, <OTHER_KEY>"


def test_redirect_loop_names_its_view() -> None:
    assert report_of(event("loop", "/old/"), places=("shop/urls.py:3",)) == [
        ["/old/ redirects without end", "shop/urls.py:3: answer with a page"]
    ]


def test_missing_static_file_has_the_name_used_in_its_template() -> None:
    missing = event("missing", "/", target="/static/a%20photo.png")

    assert queries(missing, WHERE)[0] == ("text", "/static/a photo.png")
    assert "add a photo.png to" in report_of(missing)[0][1]


def test_failed_request_without_an_exception_names_its_view() -> None:
    failed = event("error", "/pay/", target="/pay/", status=503, request="id-9")

    assert queries(failed, WHERE) == [("view", "/pay/")]
    ((problem, change),) = report_of(failed, places=("shop/views.py:9",))
    assert problem == "/pay/ answers 503"
    assert change.startswith("shop/views.py:9: the log has no exception") and "id-9" in change


def test_static_file_missing_in_the_manifest_is_searched_in_templates() -> None:
    failed = event("error", "/pay/", target="/pay/", status=500, request="id-2")

    assert queries(failed, WHERE)[0] == ("text", "shop/app.js")
    assert report_of(failed, places=("shop/templates/pay.html:3",))[0][1] == (
        "shop/templates/pay.html:3: add shop/app.js to the folder static of an app or of "
        'STATICFILES_DIRS, and load it by {% static "shop/app.js" %}'
    )


def test_missing_file_outside_static_url_is_no_static_file() -> None:
    missing = event("missing", "/", target="/media/logo.png")

    assert queries(missing, WHERE) == [
        ("text", "/media/logo.png"),
        ("text", "logo.png"),
        ("view", "/"),
    ]
    assert report_of(missing)[0] == [
        "/media/logo.png is missing (404), which / loads",
        "correct the address, or add the file that belongs to /media/logo.png",
    ]


def test_slow_page_suggests_a_faster_view_or_a_higher_request_seconds() -> None:
    assert report_of(event("slow", "/report/"), places=("shop/views.py:30",)) == [
        [
            "/report/ needs more than 20 s",
            "shop/views.py:30: make the view faster, or do the work in a task (docs/tasks.md)",
            "or .env: a higher REQUEST_SECONDS, which is 20 now",
        ]
    ]


def test_blocked_inline_script_is_searched_by_its_longest_line() -> None:
    page = "<script>\n  go();\n  startTheShop('EUR');\n</script>\n<script>other()</script>"

    assert queries(blocked("/", "script-src-elem", "inline", page), WHERE) == [
        ("text", "startTheShop('EUR');"),
        ("view", "/"),
    ]


@pytest.mark.parametrize(
    ("directive", "page", "text"),
    [
        ("script-src-attr", "<a class='b' onclick='go(1)'>", "onclick='go(1)'"),
        ("style-src-attr", '<p style="color: red">', 'style="color: red"'),
        ("style-src-elem", "<style media=print>b { color: red }</style>", "b { color: red }"),
    ],
)
def test_blocked_inline_handler_or_style_is_searched_as_written_in_the_page(
    directive: str, page: str, text: str
) -> None:
    assert queries(blocked("/", directive, "inline", page), WHERE)[0] == ("text", text)


def test_csp_rule_is_for_the_common_path_of_all_pages_that_need_it() -> None:
    source = "https://cdn.example.com/jq.js"
    pages = ("/map/a/", "/map/b/?x=1", "/map/b/?x=2", "/map/c/d/", "/map/e/")
    seen = [blocked(page, "script-src-elem", source) for page in pages]

    assert report_of(*seen) == [
        [
            "the Content-Security-Policy blocks https://cdn.example.com (script-src) on /map/a/, "
            "/map/b/, /map/c/d/ and 1 more",
            "copy it into your static files",
            "or mysite/settings/base.py: CONTENT_SECURITY_POLICY_PATHS = "
            '{"/map/": {"script-src": ["https://cdn.example.com"]}}',
        ]
    ]


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("eval", "'unsafe-eval'"),
        ("blob", "blob:"),
        ("data", "data:"),
        (f"{SITE}/static/shop/letters.woff2", "'self'"),
    ],
)
def test_csp_rule_uses_the_policy_keyword_for_a_source(source: str, allowed: str) -> None:
    seen = blocked("/map/", "img-src", source, enforced=False)

    ((problem, *changes),) = report_of(seen)
    assert problem == f"the Content-Security-Policy would block {allowed} (img-src) on /map/"
    assert changes[-1].endswith(f'= {{"/map/": {{"img-src": ["{allowed}"]}}}}')


@pytest.mark.parametrize("pages", [("/",), ("/a/", "/b/")])
def test_csp_rule_for_the_home_page_warns_that_it_counts_on_every_page(
    pages: tuple[str, ...],
) -> None:
    ((_, *changes),) = report_of(*(blocked(page, "img-src", "blob") for page in pages))

    assert changes[-1].endswith(
        '= {"/": {"img-src": ["blob:"]}}  # on every page, the admin\'s too'
    )


def test_project_with_its_own_csp_gets_no_rule_of_the_stack() -> None:
    where = Where(SITE, "/static/", 20, "/srv/app/", "../", rules=False)

    ((_, change),) = report_of(blocked("/", "frame-src", "blob"), where=where)
    assert change == "your own Content-Security-Policy: frame-src blob:"


def test_script_error_names_the_source_of_its_hashed_static_file() -> None:
    name = f"{SITE}/static/shop/app.0123456789ab.js"
    failed = event("console", "/", text="TypeError: x is {}", file=name, line=4)

    assert queries(failed, WHERE) == [("static", "shop/app.0123456789ab.js:4")]
    assert report_of(failed, places=("shop/static/shop/app.js:4",)) == [
        ["a script fails on /: TypeError: x is {}", "shop/static/shop/app.js:4"]
    ]


def test_findings_are_sorted_and_unique() -> None:
    link = event("link", "/", target="/gone/", text="../gone/")
    slow = event("slow", "/a/")

    result = report_of(link, slow, link, slow)

    assert [one[0] for one in result] == [
        "/a/ needs more than 20 s",
        "/gone/ answers 404, and / links to it",
    ]
    assert queries(link, WHERE)[0] == ("text", 'href="../gone/"')


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("/admin/logout/", True),
        ("/accounts/sign-out", True),
        ("/cart/?action=remove", True),
        ("/shop/3/delete/", True),
        ("/blog/", False),
        ("/catalogout/", False),
        ("/deleted-scenes/", False),
        ("/admin/shop/book/add/", False),
    ],
)
def test_links_that_may_change_data_are_not_visited(path: str, changes: bool) -> None:
    assert bool(CHANGES.search(path)) is changes


def test_temporary_stack_overrides_variables_of_dotenv() -> None:
    made = check.environment()

    assert made["DATABASE_URL"] == made["DB_PASSWORD_FILE"] == made["AWS_STORAGE_BUCKET_NAME"] == ""
    assert "DB_ENGINE" not in made and "CSP_MODE" not in made
    assert made["DB_PASSWORD"] != check.environment()["DB_PASSWORD"]
    assert made["STACK_NAME"] in made["COMPOSE_PROJECT_NAME"] != "mysite-production"
    given = {"DB_ENGINE": "mysql", "DB_HOST": "db", "DB_NAME": "x", "DB_USER": "x"}
    given |= {"REDIS_HOST": "redis"}
    assert faults({**made, **given, "DJANGO_READ_DOTENV": "false"}, "production") == []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_check_is_refused_without_a_browser(machine: Machine) -> None:
    words = machine.refused("check")

    assert "no Chromium is installed" in words and "apt-get install chromium" in words
    assert not machine.calls.exists()


def test_check_is_refused_without_an_engine(machine: Machine) -> None:
    (machine.folder / "chromium").write_text("#!/bin/sh\n")
    (machine.folder / "chromium").chmod(0o755)
    machine.docker(1, "Cannot connect to the Docker daemon", info="{}")

    words = machine.refused("check")

    assert "the Docker daemon is not running" in words


def test_crawl_starts_at_every_url_that_needs_no_argument() -> None:
    """Those of namespaces too; a URL with an argument is reached only by a link."""
    paths = list(site.paths(get_resolver()))

    assert {"/admin/", "/admin/login/", "/status/", "/profile/"} <= set(paths)
    assert all(path.startswith("/") and "<" not in path for path in paths)
