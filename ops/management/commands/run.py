"""The site on one machine without Docker: what `make run` starts."""

import errno
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from ops import environment
from ops.environment.variable import ROOT

HOST = "127.0.0.1"
# uWSGI's exit code when `need-app` is set and the application cannot be imported.
APP_NOT_LOADED = 22


class Command(BaseCommand):
    """Prepare the database and static files, then serve with uWSGI until interrupted."""

    help = "Migrates, collects static files and serves the site with one uWSGI on 127.0.0.1."

    def handle(self, *args: Any, **options: Any) -> None:
        """Start the site; each fault ends it with one clear message.

        Raises:
            CommandError: uWSGI is not installed, a port is in use, or the migration failed.
        """
        uwsgi = Path(sys.executable).with_name("uwsgi")
        if not uwsgi.exists():
            raise CommandError(
                "uWSGI is not installed in this Python's environment. Use `make run`."
            )
        refuse_taken_port("RUN_PORT", settings.RUN_PORT)
        if port := os.environ.get("DEBUGGER_PORT"):
            refuse_taken_port("DEBUGGER_PORT", int(port))
        if layer := environment.ignored_layer():
            self.stdout.write(
                f".env is for LAYER={layer} and is not read here; set variables before `make run`"
            )
        for folder in (settings.STATIC_ROOT, settings.MEDIA_ROOT, settings.PRIVATE_ROOT):
            folder.mkdir(parents=True, exist_ok=True)
        call_command("migrate_with_lock", verbosity=0, stdout=self.stdout)
        call_command("collectstatic", interactive=False, verbosity=0)
        self.stdout.write(f"http://{HOST}:{settings.RUN_PORT}/  (Ctrl-C ends it)")
        self.stdout.flush()
        try:
            while serve(uwsgi) == APP_NOT_LOADED:
                wait_for_application()
        except KeyboardInterrupt:
            self.stdout.write("stopped")


def serve(uwsgi: Path) -> int:
    """Run uWSGI until it ends and return its exit code."""
    config = ROOT / "uwsgi" / "embedded.ini"
    static = [f"--static-map={settings.STATIC_URL.rstrip('/')}={path}" for path in static_folders()]
    address = f"{HOST}:{settings.RUN_PORT}"
    process = subprocess.Popen(  # noqa: S603 (our own configuration)
        # On a reload pyuwsgi starts Python again; left alone it forgets the virtual environment.
        [
            *map(str, (uwsgi, *static, "--ini", config, "--http-socket", address)),
            *("--binary-path", sys.executable),
            # One worker, so that the debugger sees every request.
            *(("--processes", "1") if os.environ.get("DEBUGGER_PORT") else ()),
        ],
        # For the worker, which uwsgi/embedded.ini starts, and for harakiri.
        env={
            **os.environ,
            "PYTHON": sys.executable,
            "REQUEST_SECONDS": str(settings.REQUEST_SECONDS),
        },
    )
    try:
        return process.wait()
    finally:
        stop(process)


def static_folders() -> list[Path]:
    """Return the static folders of the project's own apps."""
    folders = [Path(app.path, "static") for app in apps.get_app_configs()]
    return [
        folder
        for folder in folders
        if folder.parent.parent == settings.SOURCE_ROOT and folder.is_dir()
    ]


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop uWSGI. It may miss the first signal while it starts."""
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)


def wait_for_application() -> None:
    """Return once the application can be imported again."""
    python_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(  # noqa: S603
        [ROOT / "uwsgi" / "wait-for-application"],
        env={**os.environ, "PATH": python_first},
        check=True,
    )


def refuse_taken_port(name: str, port: int) -> None:
    """Check that nothing listens on the port already.

    Args:
        name: the variable that sets the port.
        port: the TCP port.

    Raises:
        CommandError: something does, or this user may not listen on it.
    """
    with socket.socket() as probe:
        # As servers do, so that a port whose last user has just ended counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise CommandError(f"cannot listen on {HOST}:{port}: {error.strerror}") from None
            raise CommandError(
                f"port {port} is in use by another program. Choose another: "
                f"{name}={port + 1} make run"
            ) from None
