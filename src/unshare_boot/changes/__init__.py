"""What an overlay has kept in its directory, ``overlay=DIR:CHANGES``: shown, compared, applied.

The format is overlayfs(5)'s: a file of the upper directory is there in place of one below, a
whiteout says that there is none any more, and an opaque directory that nothing below shows through.

Not loaded at interpreter start: this is an ordinary program and imports what it likes.
"""

from __future__ import annotations

import filecmp
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..items.kept import BELOW, UPPER, read

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDED, CHANGED, REMOVED = "added", "changed", "removed"


class Change(NamedTuple):
    """One path that is not as it was.

    Attributes:
        kind: `ADDED`, `CHANGED` or `REMOVED`.
        path: below the directory; a directory ends in /.
        size: of a file, in bytes; of what was removed with all that was in it. None where a size
            says nothing.
        before: that of the file which was changed.
    """

    kind: str
    path: str
    size: int | None = None
    before: int | None = None


class Upper:
    """The upper directory of an overlay.

    Attributes:
        upper: the directory of what was written.
        lower: the directory whose changes these are.
    """

    def __init__(self, upper: Path, lower: Path, kind: str) -> None:
        """Take a directory, with the kind of its extended attributes."""
        self.upper, self.lower = upper, lower
        self._prefix = f"{kind}.overlay."

    def is_whiteout(self, path: Path, status: os.stat_result) -> bool:
        """Tell whether an entry of the upper directory says that there is nothing."""
        if stat.S_ISCHR(status.st_mode):
            return status.st_rdev == 0
        empty = stat.S_ISREG(status.st_mode) and status.st_size == 0
        return empty and self._attribute(path, "whiteout") is not None  # since Linux 6.7

    def is_opaque(self, path: Path) -> bool:
        """Tell whether nothing of the directory below shows through one of the upper directory."""
        return self._attribute(path, "opaque") == b"y"

    def attributes_of(self, path: Path) -> dict[str, bytes]:
        """Return the extended attributes of an entry that are not the overlay's own."""
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError:
            return {}
        return {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in names
            if not name.startswith(self._prefix)
        }

    def _attribute(self, path: Path, name: str) -> bytes | None:
        try:
            return os.getxattr(path, self._prefix + name, follow_symlinks=False)
        except OSError:  # there is none, or this file system has none at all
            return None


class Kept(Upper):
    """A directory of changes.

    Attributes:
        path: where it is.
        prefix: of its paths, where it has what was mounted below the directory of another.
    """

    def __init__(self, path: str, prefix: str = "") -> None:
        """Look at a directory.

        Raises:
            OSError: it cannot be read.
            ValueError: it holds no changes, or none that this user can read.
        """
        self.path, self.prefix = Path(path), prefix
        try:
            kind, lower = read(path)
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{path!r} holds no changes of an overlay") from None
        if kind == "trusted" and os.geteuid() != 0:
            raise ValueError(f"{path!r} was made by root, and only root can read all of it")
        super().__init__(self.path / UPPER, Path(lower), kind)

    def parts(self) -> list[Kept]:
        """Return this one, and one for each mount below: they had overlays of their own.

        Raises:
            OSError, ValueError: as of the constructor.
        """
        try:
            names = sorted(os.listdir(self.path / BELOW))
        except FileNotFoundError:
            names = []
        plain = [name.replace("%2F", "/").replace("%25", "%") for name in names]
        below = [
            Kept(str(self.path / BELOW / name), f"{prefix}/") for name, prefix in zip(names, plain)
        ]
        return [self, *below]


# What has changed.


def changes_of(kept: Upper, lower: Path) -> Iterator[Change]:
    """Find what is not as in another directory, sorted by path.

    Args:
        kept: the changes.
        lower: the directory to compare with.
    """
    yield from _compare(kept, kept.upper, lower, "")


def _compare(kept: Upper, upper: Path, lower: Path | None, path: str) -> Iterator[Change]:
    names = set(os.listdir(upper))
    hidden = set()
    if lower is not None and kept.is_opaque(upper):
        hidden = {*os.listdir(lower)} - names
    for name in sorted(names | hidden):
        above, below = upper / name, lower / name if lower is not None else None
        was = status_of(below) if below is not None else None
        status = status_of(above)
        if status is None or kept.is_whiteout(above, status):
            if below is not None and was is not None:
                yield _removed(below, was, path + name)
        elif not stat.S_ISDIR(status.st_mode):
            yield from _of_file(above, status, below, was, path + name)
        else:
            yield from _of_directory(kept, above, status, below, was, path + name)


def _of_file(
    above: Path, status: os.stat_result, below: Path | None, was: os.stat_result | None, path: str
) -> Iterator[Change]:
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    if below is None or was is None:
        yield Change(ADDED, path, size)
    elif stat.S_ISDIR(was.st_mode):
        yield _removed(below, was, path)
        yield Change(ADDED, path, size)
    elif not is_same(above, status, below, was):
        before = was.st_size if stat.S_ISREG(was.st_mode) else None
        yield Change(CHANGED, path, size, before)


def _of_directory(
    kept: Upper,
    above: Path,
    status: os.stat_result,
    below: Path | None,
    was: os.stat_result | None,
    path: str,
) -> Iterator[Change]:
    if below is not None and was is not None and not stat.S_ISDIR(was.st_mode):
        yield _removed(below, was, path)
        was = None
    if was is None:
        yield Change(ADDED, f"{path}/")
    elif stat.S_IMODE(was.st_mode) != stat.S_IMODE(status.st_mode):
        yield Change(CHANGED, f"{path}/")
    yield from _compare(kept, above, below if was is not None else None, f"{path}/")


def _removed(below: Path, was: os.stat_result, path: str) -> Change:
    if not stat.S_ISDIR(was.st_mode):
        return Change(REMOVED, path, was.st_size if stat.S_ISREG(was.st_mode) else None)
    size = 0
    for directory, _, names in os.walk(below):
        for name in names:
            status = os.lstat(os.path.join(directory, name))
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Change(REMOVED, f"{path}/", size)


def is_same(above: Path, status: os.stat_result, below: Path, was: os.stat_result) -> bool:
    """Tell whether a file that was copied up is still what it was."""
    if (status.st_mode, status.st_size) != (was.st_mode, was.st_size):
        return False
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(above) == os.readlink(below)
    if not stat.S_ISREG(status.st_mode):
        return status.st_rdev == was.st_rdev
    return status.st_mtime_ns == was.st_mtime_ns and filecmp.cmp(above, below, shallow=False)


def status_of(path: Path) -> os.stat_result | None:
    """Return the status of what is at a path; None where there is nothing."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


WHOLE = True
