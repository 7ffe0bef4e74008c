"""The policies that the guide to Elastic Beanstalk tells its reader to write."""

import json
import re

from tests.tree import ROOT


def policy(*words: str) -> str:
    """Return the policy that has these words in it."""
    text = (ROOT / "docs" / "elastic-beanstalk.md").read_text()
    found = re.findall(r'^    (\{"Version".*?\]\})$', text, re.M | re.S)
    (one,) = (policy for policy in found if all(word in policy for word in words))
    return json.dumps(json.loads(one))
