#!/usr/bin/env python
"""Django's command-line utility, with `env` for the project's environment variables beside it."""

import os
import sys


def main() -> None:
    """Run one management command.

    `env` is answered before Django loads any settings, because settings with a faulty environment
    cannot be loaded, and that is when it is needed.
    """
    try:
        from mysite import environment
    except ImportError as missing:
        sys.exit(
            f"manage.py: {missing.name or missing} is not installed here. Next step: `make setup`, "
            "then run this with .venv/bin/python, or use the make targets (`make help`)."
        )

    if sys.argv[1:2] == ["env"]:
        from mysite.environment.cli import main as env_main

        sys.exit(env_main(sys.argv[2:]))

    environment.read_dotenv()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.local")

    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        if not any(argument.startswith("--settings") for argument in sys.argv):
            # Settings check the environment too, but a misspelt settings module never gets there.
            environment.load()
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as fault:
        sys.exit(f"manage.py: {fault}")


if __name__ == "__main__":
    main()
