"""The clone that the tests of `make run` share."""

from pathlib import Path

import pytest

from tests.tree import copy_tree


@pytest.fixture(scope="package")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a fresh clone without a virtual environment, in a path with a space."""
    return copy_tree(tmp_path_factory.mktemp("clone") / "my site")
