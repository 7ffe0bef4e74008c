"""The stack that the tests of stackctl share; every test restores it."""

from collections.abc import Iterator

import pytest

from tests.stack.stackctl.site import Site, git, removed_afterwards
from tests.tree import copy_tree


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start the production layer with stackctl."""
    tree = copy_tree(tmp_path_factory.mktemp("stackctl"))
    git(tree, "init", "--quiet")
    site = Site(tree)
    site.commit()
    with removed_afterwards(site):
        site.ctl("up")
        yield site
