"""`make run` in a fresh clone: no Docker, no MySQL, no compiler; Python alone."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from demo.tests.images import make_image  # remove_demo
from ops.environment.contract import VARIABLES
from tests.debugger import line_number, stop_at_breakpoint
from tests.ports import free_port
from tests.tree import copy_tree
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


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone, without a virtual environment, in a folder whose name has a space."""
    return copy_tree(tmp_path_factory.mktemp("clone") / "my site")


def environment(port: int) -> dict[str, str]:
    """Return an environment in which no compiler is found and only the port is set."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**inherited, "RUN_PORT": str(port), "CC": "/bin/false", "CXX": "/bin/false"}


class Site:
    """One running `make run`."""

    def __init__(self, clone: Path, port: int, **variables: str) -> None:
        """Start it; its output goes to a file that `output` reads."""
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
        """Return what it has printed so far."""
        return self.log.read_text()

    def get(self, path: str) -> requests.Response:
        """Ask it."""
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)

    def wait(self, seconds: float) -> None:
        """Return once it answers; fail with its output, at once when it has ended."""

        def answers() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"make run ended: {self.output()}")
            return self.get("/readyz").status_code == 200

        try:
            eventually(answers, seconds=seconds, what="make run answers")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None

    def interrupt(self) -> int:
        """Press Ctrl-C, which reaches the whole group, and return make's exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def running(clone: Path, *, seconds: float, **variables: str) -> Iterator[Site]:
    """Run the site for the block's time."""
    site = Site(clone, free_port(), **variables)
    try:
        site.wait(seconds)
        yield site
    finally:
        with suppress(ProcessLookupError):
            os.killpg(site.process.pid, signal.SIGKILL)
        site.process.wait(30)


def test_a_fresh_clone_answers(clone: Path) -> None:
    # Generous: the packages are downloaded and installed.
    with running(clone, seconds=300) as site:
        profile = site.get("/profile/").json()
        assert (profile["settings"], profile["debug"]) == ("local", True)
        # The worker starts when the site is there.
        eventually(
            lambda: site.get("/healthz").json()["status"] == "up", seconds=30, what="all is up"
        )
        assert profile["server"] == "standalone"
        manage(clone, "shell", "--command", f"{GROUP}.create(name='kept')")
        # The diagram of what answers.
        assert "uWSGI" in site.get("/status/").text
        for path in ("/static/ops/status.css", "/static/admin/css/base.css"):
            assert site.get(path).status_code == 200
        (clone / "var" / "media" / "kept.txt").write_text("kept")
        assert site.get("/media/kept.txt").text == "kept"
        assert (clone / "var" / "db.sqlite3-wal").exists()
        assert f"http://127.0.0.1:{site.port}/" in site.output()


def test_a_second_run_starts_at_once_with_the_data_of_the_first(clone: Path) -> None:
    # The aim is 3 s; this is a bound that a busy machine keeps.
    with running(clone, seconds=15) as site:
        assert "Installing" not in site.output()
        assert "kept" in manage(clone, "shell", "--command", f"print({GROUP}.get())")


# remove_demo: begin
def test_an_upload_becomes_a_thumbnail(clone: Path) -> None:
    """The background worker runs without any server for its messages."""
    with running(clone, seconds=15) as site:
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
        sent = requests.post(
            address, files={"image": ("a.jpg", make_image())}, headers=headers, timeout=10
        )
        assert sent.status_code == 201, sent.text

        def thumbnail() -> str | None:
            found = requests.get(address, headers=headers, timeout=10).json()["results"][0]
            return found["thumbnail"]

        made = eventually(thumbnail, seconds=30, what="the thumbnail is ready")
        served = site.get(str(made))
        assert (served.status_code, served.headers["Content-Type"]) == (200, "image/jpeg")


# remove_demo: end


def manage(clone: Path, *arguments: str) -> str:
    """Run a management command next to the site and return what it printed."""
    return subprocess.run(
        [clone / ".venv" / "bin" / "python", "manage.py", *arguments],
        cwd=clone,
        env=environment(free_port()),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def workers(clone: Path) -> list[str]:
    """Return the processes of this clone's worker."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == clone:
                command = (process / "cmdline").read_text().split("\0")
                found += [process.name] if "worker" in command else []
    return found


def test_an_edit_is_live_and_a_mistake_heals(clone: Path) -> None:
    module = clone / "ops" / "profile.py"
    original = module.read_text()
    with running(clone, seconds=15) as site:

        def server() -> str:
            return site.get("/profile/").json()["server"]

        try:
            module.write_text(original.replace("settings.PROFILE,", "'edited',"))
            eventually(lambda: server() == "edited", seconds=30, what="the edit shows")
            module.write_text("def def")
            eventually(lambda: "waiting for an edit" in site.output(), seconds=30, what="it waits")
            # The site's own: its background worker, started with it, may meet the mistake too.
            latest = site.output().rpartition("getting INI configuration")[2]
            assert "SyntaxError" in latest
            assert 1 <= latest.count("mysite/wsgi.py") <= 2
        finally:
            module.write_text(original)
        eventually(lambda: server() == "standalone", seconds=30, what="the edit heals it")


def test_a_new_app_needs_its_two_lines_and_is_live(clone: Path) -> None:
    """While the site runs: `startapp`, INSTALLED_APPS, urls.py, then its page and static files."""
    app = clone / "shop"
    settings, urls = (clone / "mysite" / name for name in ("settings/base.py", "urls.py"))
    edits = ((settings, '    "api",\n', '    "api",\n    "shop",\n'), (urls, *SHOP_URL))
    originals = {path: path.read_text() for path, _, _ in edits}
    static = app / "static/shop"

    def shows(text: str) -> None:
        eventually(lambda: site.get("/shop/").text == text, seconds=30, what=f"it shows {text}")

    try:
        with running(clone, seconds=30) as site:
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
        with running(clone, seconds=30) as site:
            # uWSGI serves it from here on.
            (static / "shop.css").write_text("/* third */")
            assert site.get("/static/shop/shop.css").text == "/* third */"
    finally:
        for path, text in originals.items():
            path.write_text(text)
        shutil.rmtree(app)


def test_a_debugger_attaches_again_after_an_edit(clone: Path) -> None:
    """Every request stops at its breakpoint, since there is one worker."""
    module, port = clone / "ops/profile.py", free_port()
    line = line_number(module.read_text(), '"server": settings.PROFILE')
    with running(clone, seconds=30, DEBUGGER_PORT=str(port)) as site:

        def stops() -> bool:
            path = str(module)
            return (
                stop_at_breakpoint(port, path, line, lambda: site.get("/profile/")).status_code
                == 200
            )

        for reloads in (0, 1):
            started = "spawned uWSGI worker 1"
            eventually(lambda: site.output().count(started) > reloads, seconds=30, what="reload")  # noqa: B023
            eventually(stops, seconds=30, what="a request stops")
            module.touch()
        with socket.socket() as other:
            # Not on this machine's other addresses.
            other.bind(("127.0.0.2", port))
        assert site.output().count("spawned uWSGI worker 2") == 0


def test_ctrl_c_ends_it_all(clone: Path) -> None:
    with running(clone, seconds=15) as site:
        eventually(lambda: workers(clone), seconds=15, what="the worker is there")
        site.interrupt()
        eventually(lambda: not workers(clone), seconds=15, what="the worker has ended")
        with pytest.raises(requests.ConnectionError):
            site.get("/readyz")
        assert "Traceback" not in site.output()


def test_a_killed_site_leaves_no_worker(clone: Path) -> None:
    with running(clone, seconds=15):
        eventually(lambda: workers(clone), seconds=15, what="the worker is there")
    # `running` has killed everything but the worker, which is in a session of its own.
    eventually(lambda: not workers(clone), seconds=30, what="the worker has ended by itself")


def test_message_names_a_port_that_is_free_instead_of_the_one_in_use(clone: Path) -> None:
    with running(clone, seconds=15) as site:
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
def test_a_faulty_environment_is_one_clear_message(
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
