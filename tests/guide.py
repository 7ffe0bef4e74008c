"""The IAM policies of docs/elastic-beanstalk.md."""

import json
import re

from tests.tree import ROOT

BUCKETS = {"MEDIA_BUCKET": "mysite-media", "STATIC_BUCKET": "mysite-static"}


def policy(*words: str) -> str:
    """Return the policy that contains these words."""
    text = (ROOT / "docs" / "elastic-beanstalk.md").read_text()
    for variable, name in BUCKETS.items():
        text = text.replace(f"${variable}", name)
    policies = re.findall(r'^    (\{"Version".*?\]\})$', text, re.M | re.S)
    (match,) = (policy for policy in policies if all(word in policy for word in words))
    return json.dumps(json.loads(match))
