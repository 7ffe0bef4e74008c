#!/usr/bin/env python3
"""Django's command-line utility, and the command `env` for the project's environment variables."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

VENV = Path(__file__).resolve().parent / ".venv"


def use_venv() -> None:
    """Continue in .venv where this Python has no Django; `make setup` and `make run` create it."""
    if find_spec("django"):
        return
    python = VENV / "bin" / "python"
    if Path(sys.prefix).resolve() != VENV and os.access(python, os.X_OK):
        os.execv(python, [str(python), *sys.argv])  # noqa: S606 (the same command, no shell)
    sys.exit(
        "manage.py: Django is not installed here, nor in .venv. Run `make setup` (or `make run`) "
        "once, then this command again."
    )


def main() -> None:
    """Run one management command.

    `env` is answered before Django loads any settings, because settings with a faulty environment
    cannot be loaded, and that is when it is needed.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 (a message in place of a traceback)
        sys.exit(
            f"manage.py: Python 3.11 or newer is needed, and this is {sys.version.split()[0]}. "
            "Install it, then run `PYTHON=/path/to/python3.11 make setup`, and "
            f"`.venv/bin/python {' '.join(sys.argv)}`."
        )
    if sys.argv[1:2] == ["env"]:
        from ops.environment.cli import main as env_main

        sys.exit(env_main(sys.argv[2:]))

    use_venv()
    if sys.argv[1:2] == ["test"]:
        # In a container too: tests must not reach the cache, broker and files of its site.
        os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings.test"
    from ops import environment

    environment.read_dotenv()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.local")

    from django.core.management import execute_from_command_line

    try:
        if not any(argument.startswith("--settings") for argument in sys.argv):
            # Settings check the environment too, but a misspelt settings module never gets there.
            environment.load()
        execute_from_command_line(sys.argv)
    except Exception as error:
        from ops import mistakes

        if "--traceback" in sys.argv or not (message := mistakes.message(error)):
            raise
        sys.exit(f"manage.py: {message}")


if __name__ == "__main__":
    main()
