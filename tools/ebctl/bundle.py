"""A source bundle: the files that an instance of Elastic Beanstalk would get, read from anywhere.

`eb deploy` sends what `git archive` makes: committed files without `export-ignore`. Of a working
tree the same files are read as they are now, so that a mistake is reported before it is committed.
"""

from __future__ import annotations

import lzma
import stat
import subprocess
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.ebctl.faults import EbctlError

# Elastic Beanstalk's own limit. https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/applications-sourcebundle.html
LARGEST_BYTES = 512 * 1024 * 1024

# What zipfile raises for an archive that is damaged, cut off, encrypted (RuntimeError), or of
# an unknown kind (NotImplementedError).
UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(RuntimeError, NotImplementedError, ValueError),
)


@dataclass(frozen=True)
class BundleFile:
    """One file: its content, and whether it may be run."""

    content: bytes
    executable: bool = False

    @property
    def text(self) -> str:
        """Return the content as text; what is not UTF-8 is replaced."""
        return self.content.decode("utf-8", errors="replace")


@dataclass(frozen=True)
class Bundle:
    """All files by their paths, `/` between the parts."""

    files: Mapping[str, BundleFile] = field(repr=False)
    # Bytes as sent; of a working tree, which is compressed first, not known.
    size: int | None = None

    def under(self, folder: str) -> Iterator[tuple[str, BundleFile]]:
        """Yield the files below a folder, in order."""
        for name in sorted(self.files):
            if name.startswith(f"{folder}/"):
                yield name, self.files[name]


def read(path: Path) -> Bundle:
    """Return the bundle of a .zip, or of a git working tree.

    Raises:
        EbctlError: it is neither.
    """
    if path.is_dir():
        return from_tree(path)
    if not path.is_file():
        raise EbctlError(f"{path}: there is no such file or folder.")
    if not zipfile.is_zipfile(path):
        raise EbctlError(f"{path} is not a .zip; name a bundle, or the project's folder.")
    return from_zip(path)


def from_zip(path: Path) -> Bundle:
    """Return what is in a bundle.

    Raises:
        EbctlError: it is damaged, or has a password.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = {
                entry.filename: BundleFile(archive.read(entry), runs(entry))
                for entry in archive.infolist()
                if not entry.is_dir()
            }
    except UNREADABLE as error:
        raise EbctlError(f"{path}: this .zip cannot be read ({error}); create it again.") from None
    return Bundle(files, path.stat().st_size)


def runs(entry: zipfile.ZipInfo) -> bool:
    """Return whether a file of a .zip is unpacked with the right to be run."""
    return bool((entry.external_attr >> 16) & stat.S_IXUSR)


def from_tree(root: Path) -> Bundle:
    """Return what `git archive` would send of a working tree, were it committed now.

    Raises:
        EbctlError: it is no git clone, or there is no git.
    """
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = [name for name in listed.split("\0") if name and (root / name).is_file()]
    files = {}
    for name in without_ignored(root, names):
        path = root / name
        files[name] = BundleFile(path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
    return Bundle(files)


def without_ignored(root: Path, names: list[str]) -> list[str]:
    """Leave out what .gitattributes marks, or a folder above it.

    https://git-scm.com/docs/gitattributes

    Raises:
        EbctlError: git's answer cannot be read.
    """
    folders = {
        folder.as_posix() for name in names for folder in Path(name).parents if folder != Path()
    }
    candidates = sorted({*names, *folders})
    answer = git(root, "check-attr", "-z", "--stdin", "export-ignore", given="\0".join(candidates))
    *words, end = answer.split("\0")
    if len(words) != 3 * len(candidates) or end:
        raise EbctlError(f"{root}: git check-attr printed something that ebctl cannot read.")
    ignored = {path for path, value in zip(words[0::3], words[2::3], strict=True) if value == "set"}
    return [
        name
        for name in names
        if not ignored & {name, *(folder.as_posix() for folder in Path(name).parents)}
    ]


def git(root: Path, *arguments: str, given: str | None = None) -> str:
    """Run git in a tree and return what it printed.

    Raises:
        EbctlError: it is no git clone, or there is no git.
    """
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=root,
            input=given,
            capture_output=True,
            text=True,
            # A file's name may be any bytes.
            errors="surrogateescape",
            check=True,
        )
    except FileNotFoundError:
        raise EbctlError("git is not installed. Install it: `eb deploy` needs it too.") from None
    except subprocess.CalledProcessError as error:
        raise EbctlError(f"{root}: git {arguments[0]} failed: {error.stderr.strip()}") from None
    return done.stdout
