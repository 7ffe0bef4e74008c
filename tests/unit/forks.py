"""Python programs in new processes that need not import Django and Celery again.

A server imports the installed packages, none of the project's modules, and forks for each program.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

# What most starts import and what reads no settings.
PACKAGES = (
    *("celery.app.task", "celery.schedules", "django.contrib.admin.options", "django.core.wsgi"),
    *("django.core.management", "django.db.backends.sqlite3.base", "django.db.migrations"),
    *("django.test", "dns.asyncresolver", "jinja2", "kombu.transport.filesystem"),
    *("prometheus_client", "redis", "requests", "structlog", "yaml"),
)
# The debug toolbar tries to import it, which searches for a library by a dozen processes.
MISSING = "django.contrib.gis.db.backends.postgis.adapter"


def run_forked(
    *arguments: str, cwd: Path, env: Mapping[str, str], seconds: int = 60
) -> subprocess.CompletedProcess[str]:
    """Run a script, `-c PROGRAM` or `-m MODULE` in a folder, and return how it ended.

    Args:
        arguments: those of the interpreter.
        cwd: the folder, first in the path of modules.
        env: all its variables.
        seconds: how long it may take.
    """
    with TemporaryDirectory() as folder:
        outputs = [f"{folder}/out", f"{folder}/err"]
        process = _server(os.getpid())
        assert process.stdin and process.stdout
        json.dump([arguments, str(cwd), dict(env), outputs, seconds], process.stdin)
        print(file=process.stdin, flush=True)
        code = int(process.stdout.readline())
        out, err = (Path(output).read_text() for output in outputs)
    return subprocess.CompletedProcess(arguments, code, out, err)


@cache
def _server(_: int) -> subprocess.Popen[str]:
    """Return the server of this process: `make mutants` forks for each mutant."""
    command = [sys.executable, "-P", __file__]
    env = {"PATH": os.environ["PATH"]}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)
    atexit.register(process.communicate)
    return process


def serve() -> None:
    """Fork for each line, and print the exit code; only a child runs its program."""
    for name in PACKAGES:
        import_module(name)
    sys.modules[MISSING] = None  # type: ignore[assignment]
    assert not sys.modules["django.conf"].settings.configured
    assert not {"ops", "mysite", "accounts", "api", "tests"} & sys.modules.keys()
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return start(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def start(
    arguments: list[str], cwd: str, env: dict[str, str], outputs: list[str], seconds: int
) -> None:
    """Run a program as the interpreter would."""
    signal.alarm(seconds)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [cwd, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    serve()
