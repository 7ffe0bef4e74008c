"""`python tools/tailor ANSWERS ANSWERS_FILE`, in the project's folder: copier's task."""

import sys
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[2]
sys.path[0] = str(TEMPLATE)

from tools.tailor.cli import main  # noqa: E402  (the path comes first)

main(TEMPLATE)
