"""`python -m ops.environment` is `./manage.py env`, also where Django is not installed."""

import sys

from .cli import main

sys.exit(main())
