"""`python -m tools.swarmctl`."""

import sys

from tools.swarmctl.cli import main

sys.exit(main())
