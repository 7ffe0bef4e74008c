"""Static files in a bucket: what its two variables need of each other and of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .fault import Fault
from .variable import SHARED, Value

BUCKET: Final = "AWS_STATIC_BUCKET_NAME"
ADDRESS: Final = "STATIC_URL"


def faults(values: Mapping[str, Value], layer: str, broken: set[str]) -> list[Fault]:
    """Return what is wrong with where static files are kept, beyond each variable's own faults."""
    bucket, address = values[BUCKET], str(values[ADDRESS])
    if broken & {BUCKET, ADDRESS} or not (bucket or address):
        return []
    if not address:
        problem = f"it is not set, and {BUCKET} is: pages would not use the bucket"
        hint = "Set the address of its folder static/, or that of the CDN before it."
        return [Fault(ADDRESS, problem, hint)]
    if not bucket:
        problem = f"it is not set, and {ADDRESS} is: no server would upload the files there"
        return [Fault(BUCKET, problem, "Set the bucket's name, or set neither.")]
    if layer not in SHARED or values["DJANGO_DEBUG"]:
        problem = "only dev and production with DJANGO_DEBUG=false hash file names; without "
        problem += "hashes, releases would overwrite each other's files"
        return [Fault(BUCKET, problem, f"Remove it and {ADDRESS} here.")]
    if values["DJANGO_SECURE_SSL_REDIRECT"] and address.startswith("http:"):
        problem = "it begins with http:, and pages are https: browsers refuse its scripts"
        return [Fault(ADDRESS, problem, "Write https:.")]
    return []
