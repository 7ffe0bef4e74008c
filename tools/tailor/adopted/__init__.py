"""Your project's layers on the stack. Your own code stays where it is."""

import os
import sys
from pathlib import Path

# The folder of your manage.py. The images have it elsewhere (Dockerfile.base).
BESIDE = ".."
SOURCE_ROOT = os.environ.setdefault(
    "SOURCE_ROOT", str((Path(__file__).resolve().parents[1] / BESIDE).resolve())
)
# After the stack's folder, before the packages, as with your own manage.py.
sys.path.insert(1, SOURCE_ROOT)
