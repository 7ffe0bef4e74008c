"""`make run` in a fresh clone, with Python only: no Docker, no MySQL, no compiler."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from demo.tests.images import make_image  # remove_demo
from ops.environment.contract import VARIABLES
from tests.debugger import line_number, stop_at_breakpoint
from tests.ports import free_port
from tests.smtp import hanging_server, mail_server
from tests.waiting import eventually

NEW_APP = {
    "views.py": """from django.shortcuts import render


def shop(request):
    return render(request, "shop/shop.html", {"count": 1})
""",
    "urls.py": """from django.urls import path

from shop.views import shop

urlpatterns = [path("shop/", shop)]
""",
    "templates/shop/shop.html": "{{ count }} in the shop\n",
}
GROUP = "__import__('django.contrib.auth.models').contrib.auth.models.Group.objects"
SHOP_URL = ("urlpatterns = [\n", 'urlpatterns = [\n    path("", include("shop.urls")),\n')


def environment(port: int) -> dict[str, str]:
    """Return an environment without a compiler, in which only the port is set."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**inherited, "RUN_PORT": str(port), "CC": "/bin/false", "CXX": "/bin/false"}


class Site:
    """A running `make run`."""

    def __init__(self, clone: Path, port: int, **variables: str) -> None:
        """Start `make run` with its output in a log file."""
        self.port = port
        self.log = clone / "var" / "test.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["make", "run"],
                cwd=clone,
                env={**environment(port), **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def output(self) -> str:
        """Return the output so far."""
        return self.log.read_text()

    def get(self, path: str) -> requests.Response:
        """Send a GET request, and follow redirects."""
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)

    def wait(self, seconds: float) -> None:
        """Wait until the site answers; fail with its output if it does not or has ended."""

        def answers() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"make run ended: {self.output()}")
            return self.get("/readyz").status_code == 200

        try:
            eventually(answers, seconds=seconds, what="make run answers")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None

    def interrupt(self) -> int:
        """Send SIGINT to the process group, as Ctrl-C does, and return the exit code of make."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def running_site(clone: Path, *, seconds: float, **variables: str) -> Iterator[Site]:
    """Run the site during the block."""
    site = Site(clone, free_port(), **variables)
    try:
        site.wait(seconds)
        yield site
    finally:
        with suppress(ProcessLookupError):
            os.killpg(site.process.pid, signal.SIGKILL)
        site.process.wait(30)


def test_make_run_serves_a_fresh_clone(clone: Path) -> None:
    # Generous: the packages are downloaded and installed.
    with running_site(clone, seconds=300) as site:
        profile = site.get("/profile/").json()
        assert (profile["settings"], profile["debug"]) == ("local", True)
        # The worker starts after the site.
        eventually(
            lambda: site.get("/healthz").json()["status"] == "up",
            seconds=30,
            what="all components are up",
        )
        assert profile["server"] == "standalone"
        manage(clone, "shell", "--command", f"{GROUP}.create(name='kept')")
        # The diagram names the application server.
        assert "uWSGI" in site.get("/status/").text
        assert site.get("/profile/").headers["Connection"] == "close"
        for path in ("/static/ops/status.css", "/static/admin/css/base.css"):
            assert site.get(path).status_code == 200
        (clone / "var" / "media" / "kept.txt").write_text("kept")
        assert site.get("/media/kept.txt").text == "kept"
        assert (clone / "var" / "db.sqlite3-wal").exists()
        assert f"http://127.0.0.1:{site.port}/" in site.output()


def test_second_make_run_starts_quickly_with_the_existing_data(clone: Path) -> None:
    # The aim is 3 s; the limit allows for a busy machine.
    with running_site(clone, seconds=15) as site:
        assert "Installing" not in site.output()
        assert "kept" in manage(clone, "shell", "--command", f"print({GROUP}.get())")


# remove_demo: begin
def test_worker_of_make_run_creates_a_thumbnail(clone: Path) -> None:
    """The worker needs no broker server."""
    with running_site(clone, seconds=15) as site:
        token = manage(
            clone,
            *("shell", "--verbosity", "0", "--command"),
            "from django.contrib.auth import get_user_model\n"
            "from rest_framework.authtoken.models import Token\n"
            "user, _ = get_user_model().objects.get_or_create(username='someone')\n"
            "print(Token.objects.get_or_create(user=user)[0].key)",
        ).split()[-1]
        headers = {"Authorization": f"Token {token}"}
        address = f"http://127.0.0.1:{site.port}/api/uploads/"
        response = requests.post(
            address, files={"image": ("a.jpg", make_image())}, headers=headers, timeout=10
        )
        assert response.status_code == 201, response.text

        def thumbnail() -> str | None:
            upload = requests.get(address, headers=headers, timeout=10).json()["results"][0]
            return upload["thumbnail"]

        thumbnail_path = eventually(thumbnail, seconds=30, what="the thumbnail is ready")
        served = site.get(str(thumbnail_path))
        assert (served.status_code, served.headers["Content-Type"]) == (200, "image/jpeg")


# remove_demo: end


def request_password(site: Site) -> float:
    """Request a password reset as a browser does, and return how many seconds it took."""
    url = f"http://127.0.0.1:{site.port}/accounts/password_reset/"
    # Without a session, which would send the form over the connection that uWSGI is closing.
    cookies = requests.get(url, timeout=10).cookies
    form = {"email": "reset@example.com", "csrfmiddlewaretoken": cookies["csrftoken"]}
    began = time.monotonic()
    answer = requests.post(url, form, cookies=cookies, timeout=10, allow_redirects=False)
    assert answer.headers["Location"] == "/accounts/password_reset/done/", answer.text
    return time.monotonic() - began


def create_user(clone: Path) -> None:
    """Create the user who forgets the password."""
    manage(
        clone,
        *("shell", "--command"),
        "from django.contrib.auth import get_user_model\n"
        "users = get_user_model().objects\n"
        "users.filter(username='reset').exists() or "
        "users.create_user('reset', 'reset@example.com', 'secret-of-the-test')",
    )


def test_make_run_shows_mails_on_a_page(clone: Path) -> None:
    with running_site(clone, seconds=15) as site:
        create_user(clone)
        request_password(site)

        def link() -> str:
            page = site.get("/status/mails/").text
            link = re.search(r'href="http://[^/]+(/accounts/reset/\S+/)"', page)
            return link[1] if link and "waits for the worker" not in page else ""

        path = eventually(link, seconds=30, what="the mail is on the page")
        assert "Set the password" in site.get(path).text
        # The worker prints it, too; the lines of the log have no token.
        lines = [line for line in site.output().splitlines() if "request_" in line]
        assert not any(path in line for line in lines)


def test_password_reset_mail_arrives_once_after_the_mail_server_hung(clone: Path) -> None:
    """The page does not wait for it, and a restart loses nothing."""
    with hanging_server() as port:
        mail = {
            "EMAIL_URL": f"smtp://127.0.0.1:{port}",
            "EMAIL_TIMEOUT": "3",
            "DEFAULT_FROM_EMAIL": "Shop <shop@example.com>",
        }
        with running_site(clone, seconds=15, **mail) as site:
            create_user(clone)
            assert request_password(site) < 3
            attempted = "ops.mail.send: attempt 1 of"
            eventually(lambda: attempted in site.output(), seconds=30, what="an attempt failed")
            assert site.get("/status/mails/").status_code == 404
    with mail_server(port=port) as (mails, _), running_site(clone, seconds=15, **mail):
        eventually(lambda: mails.messages, seconds=60, what="the mail arrives")
        left = "from ops.models import Mail; print('left', Mail.objects.filter(sent=None).count())"
        eventually(
            lambda: "left 0" in manage(clone, "shell", "--verbosity", "0", "--command", left),
            seconds=30,
            what="the mail is deleted",
        )
        (message,) = mails.messages
        assert (message["To"], message["From"]) == ("reset@example.com", "Shop <shop@example.com>")
        assert "/accounts/reset/" in message.get_content()


def manage(clone: Path, *arguments: str) -> str:
    """Run a management command while the site runs, and return its output."""
    return subprocess.run(
        [clone / ".venv" / "bin" / "python", "manage.py", *arguments],
        cwd=clone,
        env=environment(free_port()),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def worker_processes(clone: Path) -> list[str]:
    """Return the worker processes of this clone."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == clone:
                command = (process / "cmdline").read_text().split("\0")
                pids += [process.name] if "worker" in command else []
    return pids


def test_make_run_reloads_edits_and_recovers_from_a_syntax_error(clone: Path) -> None:
    module = clone / "ops" / "profile.py"
    original = module.read_text()
    with running_site(clone, seconds=15) as site:

        def server() -> str:
            return site.get("/profile/").json()["server"]

        try:
            module.write_text(original.replace("settings.PROFILE,", "'edited',"))
            eventually(lambda: server() == "edited", seconds=30, what="the edit is live")
            module.write_text("def def")
            eventually(lambda: "waiting for an edit" in site.output(), seconds=30, what="it waits")
            # Only the output of the site, since its worker may report the error too.
            latest = site.output().rpartition("getting INI configuration")[2]
            assert "SyntaxError" in latest
            assert 1 <= latest.count("mysite/wsgi.py") <= 2
        finally:
            module.write_text(original)
        eventually(lambda: server() == "standalone", seconds=30, what="the site has recovered")


def test_make_run_serves_a_new_app_without_a_restart(clone: Path) -> None:
    """After `startapp` and edits of INSTALLED_APPS and urls.py, its pages and files are live."""
    app = clone / "shop"
    settings, urls = (clone / "mysite" / name for name in ("settings/base.py", "urls.py"))
    edits = ((settings, '    "api",\n', '    "api",\n    "shop",\n'), (urls, *SHOP_URL))
    originals = {path: path.read_text() for path, _, _ in edits}
    static = app / "static/shop"

    def shows(text: str) -> None:
        eventually(lambda: site.get("/shop/").text == text, seconds=30, what=f"it shows {text}")

    try:
        with running_site(clone, seconds=30) as site:
            manage(clone, "startapp", "shop")
            for name, content in NEW_APP.items():
                (app / name).parent.mkdir(parents=True, exist_ok=True)
                (app / name).write_text(content)
            for path, old, new in edits:
                assert old in originals[path]
                path.write_text(originals[path].replace(old, new))
            shows("1 in the shop\n")
            assert site.get("/static/shop/shop.css").status_code == 404
            static.mkdir(parents=True)
            (static / "shop.css").write_text("/* first */")
            served = site.get("/static/shop/shop.css")
            assert (served.text, served.headers["Content-Type"]) == ("/* first */", "text/css")
            (static / "shop.css").write_text("/* second */")
            assert site.get("/static/shop/shop.css").text == "/* second */"
            (app / "views.py").write_text(NEW_APP["views.py"].replace('"count": 1', '"count": 2'))
            shows("2 in the shop\n")
        with running_site(clone, seconds=30) as site:
            # After a restart uWSGI serves the file.
            (static / "shop.css").write_text("/* third */")
            assert site.get("/static/shop/shop.css").text == "/* third */"
    finally:
        for path, text in originals.items():
            path.write_text(text)
        shutil.rmtree(app)


def test_debugger_attaches_again_after_an_edit(clone: Path) -> None:
    """Every request stops at the breakpoint, since there is one worker."""
    module, port = clone / "ops/profile.py", free_port()
    line = line_number(module.read_text(), '"server": settings.PROFILE')
    variables = {"DEBUGGER_PORT": str(port), "REQUEST_SECONDS": "600"}
    with running_site(clone, seconds=30, **variables) as site:

        def stops() -> bool:
            response = stop_at_breakpoint(port, str(module), line, lambda: site.get("/profile/"))
            return bool(response.status_code == 200)

        for reloads in (0, 1):
            started = "spawned uWSGI worker 1"
            eventually(lambda: site.output().count(started) > reloads, seconds=30, what="reload")  # noqa: B023
            eventually(stops, seconds=30, what="a request stops")
            module.touch()
        with socket.socket() as other:
            # The debugger does not listen on other addresses of this machine.
            other.bind(("127.0.0.2", port))
        assert site.output().count("spawned uWSGI worker 2") == 0


def test_ctrl_c_ends_the_site_and_its_worker(clone: Path) -> None:
    with running_site(clone, seconds=15) as site:
        eventually(lambda: worker_processes(clone), seconds=15, what="the worker runs")
        site.interrupt()
        eventually(lambda: not worker_processes(clone), seconds=15, what="the worker has ended")
        with pytest.raises(requests.ConnectionError):
            site.get("/readyz")
        assert "Traceback" not in site.output()


def test_worker_ends_when_make_run_is_killed(clone: Path) -> None:
    with running_site(clone, seconds=15):
        eventually(lambda: worker_processes(clone), seconds=15, what="the worker runs")
    # `running_site` has killed everything but the worker, which has its own session.
    eventually(lambda: not worker_processes(clone), seconds=30, what="the worker has ended")


def test_make_run_suggests_a_free_port_for_one_in_use(clone: Path) -> None:
    with running_site(clone, seconds=15) as site:
        for name in ("RUN_PORT", "DEBUGGER_PORT"):
            second = subprocess.run(
                ["make", "run"],
                cwd=clone,
                env={**environment(free_port()), name: str(site.port)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

            assert second.returncode != 0
            assert f"port {site.port} is in use" in second.stderr
            assert f"{name}={site.port + 1} make run" in second.stderr
            assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DATABASE_URL", "mysq://u:hunter2@h/n", "DATABASE_URL"),
        ("DJANGO_DEBUG", "maybe", "DJANGO_DEBUG"),
        ("DJANGO_ALOWED_HOSTS", "x", "DJANGO_ALLOWED_HOSTS"),
        ("DJANGO_SETTINGS_MODULE", "mysite.settings.producton", "mysite.settings.production"),
    ],
)
def test_make_run_reports_a_wrong_variable_without_a_traceback(
    clone: Path, name: str, value: str, message: str
) -> None:
    answer = subprocess.run(
        ["make", "run"],
        cwd=clone,
        env={**environment(free_port()), name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert answer.returncode != 0
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "hunter2" not in answer.stderr
