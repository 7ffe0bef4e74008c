"""Bundles of the project with one change."""

from collections.abc import Callable

from tests.tree import ROOT
from tools.ebctl import bundle
from tools.ebctl.bundle import Bundle, BundleFile

EXTRA = ".ebextensions/zz-fault.config"
OWN = bundle.from_tree(ROOT)
ENVIRONMENT = "option_settings:\n  aws:elasticbeanstalk:application:environment:\n"


def with_file(name: str, content: str | bytes, *, executable: bool = False) -> Bundle:
    """Return the bundle with a file added or replaced."""
    data = content.encode() if isinstance(content, str) else content
    return Bundle({**OWN.files, name: BundleFile(data, executable)})


def config(text: str) -> Bundle:
    """Return the bundle with a .config file added."""
    return with_file(EXTRA, text)


def alone(text: str) -> Bundle:
    """Return the bundle with this as its only .config file."""
    files = {name: file for name, file in OWN.files.items() if ".ebextensions" not in name}
    return Bundle({**files, EXTRA: BundleFile(text.encode())})


def option(namespace: str, name: str, value: str) -> Bundle:
    """Return a bundle whose only setting is this one, in line 3."""
    return alone(f"option_settings:\n  {namespace}:\n    {name}: {value}\n")


def property_(line: str) -> Bundle:
    """Return a bundle with an environment property added, in line 3."""
    return config(f"{ENVIRONMENT}    {line}\n")


def dockerfile(change: Callable[[str], str]) -> Bundle:
    """Return the bundle with a changed Dockerfile."""
    return with_file("Dockerfile", change(OWN.files["Dockerfile"].text))


def without(name: str, **added: str) -> Bundle:
    """Return the bundle without a file, and with others added."""
    files = {key: file for key, file in OWN.files.items() if key != name}
    return Bundle({**files, **{key: BundleFile(text.encode()) for key, text in added.items()}})


def dockerrun(text: str) -> Bundle:
    """Return a bundle that names a prebuilt image."""
    files = {name: file for name, file in OWN.files.items() if name.startswith(".")}
    return Bundle({**files, "Dockerrun.aws.json": BundleFile(text.encode())})


# Bundle, broken rule, line (0: the whole file), and part of the message.
Fault = tuple[Bundle, str, int, str]
