"""`python -m tools.ebctl`."""

import sys

from tools.ebctl.cli import main

sys.exit(main())
