"""A software bill of materials in the format of CycloneDX: https://cyclonedx.org."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from .debian_packages import Package


def document(image: str, python: Mapping[str, str], debian: Iterable[Package]) -> str:
    """Return the packages of an image as JSON.

    Args:
        image: its name and release.
        python: the version of each Python package.
        debian: its Debian packages.
    """
    name, _, release = image.partition(":")
    bom = Bom()
    container = Component(name=name, version=release, type=ComponentType.CONTAINER)
    bom.metadata.component = container
    urls = [PackageURL("pypi", None, name.lower(), version) for name, version in python.items()]
    urls += [
        PackageURL("deb", "debian", one.name, one.version, {"arch": one.architecture})
        for one in debian
    ]
    for url in urls:
        bom.components.add(
            Component(name=url.name, version=url.version, purl=url, bom_ref=str(url))
        )
    bom.register_dependency(container, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"
