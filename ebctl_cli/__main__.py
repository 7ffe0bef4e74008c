"""`python -m ebctl_cli`."""

import sys

from ebctl_cli.cli import main

sys.exit(main())
