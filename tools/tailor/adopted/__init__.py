"""Your project's layers on the stack. Your own code stays where it is."""

import os
import sys
from pathlib import Path

# The folder of your manage.py, from the stack's. The images have it elsewhere (Dockerfile.base).
PROJECT = ".."
SOURCE_ROOT = os.environ.setdefault(
    "SOURCE_ROOT", str((Path(__file__).resolve().parents[1] / PROJECT).resolve())
)
# After the stack's folder, before the packages, as with your own manage.py.
sys.path.insert(1, SOURCE_ROOT)
