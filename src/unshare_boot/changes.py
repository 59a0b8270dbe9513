"""What an overlay has kept in its directory, ``overlay=DIR:CHANGES``: shown, compared, applied.

The format is overlayfs(5)'s: a file of the upper directory is there in place of one below, a
whiteout says that there is none any more, and an opaque directory that nothing below shows through.

Not loaded at interpreter start: this is an ordinary program and imports what it likes.
"""

from __future__ import annotations

import difflib
import filecmp
import json
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from errno import EBUSY
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import enter, plan_of
from .errors import UnshareError, shown
from .items.kept import UPPER, read
from .language.readers import escaped
from .refusal.machine import Machine
from .start.rehearsal import rehearse

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


class Kept:
    """A directory of changes.

    Attributes:
        path: where it is.
        upper: the directory of what was written.
        lower: the directory whose changes these are.
    """

    def __init__(self, path: str) -> None:
        """Look at a directory.

        Raises:
            OSError: it cannot be read.
            ValueError: it holds no changes, or none that this user can read.
        """
        self.path = Path(path)
        try:
            kind, lower = read(path)
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{path!r} holds no changes of an overlay") from None
        if kind == "trusted" and os.geteuid() != 0:
            raise ValueError(f"{path!r} was made by root, and only root can read all of it")
        self.lower, self.upper = Path(lower), self.path / UPPER
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


def show_changes(path: str, apply_to: str | None, *, as_diff: bool, as_json: bool) -> str:
    """Return what the command prints.

    Args:
        path: the directory of the changes.
        apply_to: the directory to make them in; None to change nothing.
        as_diff: show the changes within text files.
        as_json: as JSON.

    Raises:
        OSError: something cannot be read or written.
        ValueError: the directory holds no changes, or is in use.
    """
    kept = Kept(path)
    found = list(changes_of(kept, Path(apply_to) if apply_to else kept.lower))
    text = "\n".join(map(line_of, found))
    if as_json:
        text = json.dumps([each._asdict() for each in found], indent=2)
    elif as_diff:
        text = "".join(diff_of(kept, each) for each in found).rstrip("\n")
    if apply_to is not None:
        require_unused(kept)
        apply(kept, Path(apply_to))
    return text


# What has changed.


def changes_of(kept: Kept, lower: Path) -> Iterator[Change]:
    """Find what is not as in another directory, sorted by path.

    Args:
        kept: the changes.
        lower: the directory to compare with.
    """
    yield from _compare(kept, kept.upper, lower, "")


def _compare(kept: Kept, upper: Path, lower: Path | None, path: str) -> Iterator[Change]:
    names = set(os.listdir(upper))
    hidden = set()
    if lower is not None and kept.is_opaque(upper):
        hidden = {*os.listdir(lower)} - names
    for name in sorted(names | hidden):
        above, below = upper / name, lower / name if lower is not None else None
        was = _status(below) if below is not None else None
        status = _status(above)
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
    elif not _same(above, status, below, was):
        before = was.st_size if stat.S_ISREG(was.st_mode) else None
        yield Change(CHANGED, path, size, before)


def _of_directory(
    kept: Kept,
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


def _same(above: Path, status: os.stat_result, below: Path, was: os.stat_result) -> bool:
    """Tell whether a file that was copied up is still what it was."""
    if (status.st_mode, status.st_size) != (was.st_mode, was.st_size):
        return False
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(above) == os.readlink(below)
    if not stat.S_ISREG(status.st_mode):
        return status.st_rdev == was.st_rdev
    return status.st_mtime_ns == was.st_mtime_ns and filecmp.cmp(above, below, shallow=False)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


# How it is shown.


def line_of(change: Change) -> str:
    """Return a change as a line for people."""
    size = "" if change.size is None else f"{change.size:,}"
    if change.before is not None and change.before != change.size:
        size = f"{change.before:,} -> {size}"
    path = change.path if change.path.isprintable() else shown(change.path)
    return f"{change.kind:<8} {size:>20}  {path}"


def diff_of(kept: Kept, change: Change) -> str:
    """Return a change as diff(1) would show it, with -u and -N; of anything but text its line."""
    before = _text(kept.lower / change.path) if change.kind != ADDED else []
    after = _text(kept.upper / change.path) if change.kind != REMOVED else []
    if before is None or after is None or change.path.endswith("/"):
        return f"{line_of(change)}\n"
    old = "/dev/null" if change.kind == ADDED else f"a/{change.path}"
    new = "/dev/null" if change.kind == REMOVED else f"b/{change.path}"
    lines = list(difflib.unified_diff(before, after, old, new)) or [f"{line_of(change)}\n"]
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _text(path: Path) -> list[str] | None:
    """Return the lines of a text file; None of anything else."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
    return None if "\0" in text else text.splitlines(keepends=True)


# Making the same changes elsewhere.


def require_unused(kept: Kept) -> None:
    """Refuse changes that a program is still making, by having the kernel try to use them.

    Raises:
        ValueError: they are in use.
    """
    listing = f"overlay={escaped(str(kept.lower))}:{escaped(os.path.realpath(kept.path))}"
    plan = plan_of(listing if Machine().capable() else f"user,{listing}")
    try:
        if plan is not None:
            rehearse(plan, enter)
    except UnshareError as error:
        if error.errno == EBUSY and not error.system_call:
            raise ValueError(str(error.strerror)) from None


def apply(kept: Kept, target: Path) -> None:
    """Make the changes in a directory.

    Args:
        kept: the changes.
        target: the directory.

    Raises:
        OSError: something cannot be read or written.
    """
    if not target.is_dir():
        raise NotADirectoryError(f"{str(target)!r} is no directory")
    _apply(kept, kept.upper, target, {})


def _apply(kept: Kept, upper: Path, target: Path, links: dict[int, Path]) -> None:
    names = sorted(os.listdir(upper))
    if kept.is_opaque(upper):
        for name in {*os.listdir(target)} - {*names}:
            _remove(target / name)
    for name in names:
        above, here = upper / name, target / name
        status, was = above.lstat(), _status(here)
        is_directory = stat.S_ISDIR(status.st_mode)
        both = was is not None and is_directory and stat.S_ISDIR(was.st_mode)
        if kept.is_whiteout(above, status):
            _remove(here)
            continue
        if was is not None and stat.S_ISDIR(was.st_mode) != is_directory:
            _remove(here)
        if is_directory:
            if not both:
                with suppress(FileNotFoundError):
                    here.unlink()
                here.mkdir()
            _apply(kept, above, here, links)
            _finish(kept, above, status, here)
        elif was is None or not _same(above, status, here, was):
            _put(kept, above, status, here, links)


def _put(
    kept: Kept, above: Path, status: os.stat_result, here: Path, links: dict[int, Path]
) -> None:
    """Put a file in its place, at once: nobody sees a part of it."""
    with tempfile.TemporaryDirectory(prefix=".unshare-boot-", dir=here.parent) as directory:
        new = Path(directory, "new")
        if status.st_nlink > 1 and status.st_ino in links:
            os.link(links[status.st_ino], new, follow_symlinks=False)
        elif stat.S_ISLNK(status.st_mode):
            new.symlink_to(os.readlink(above))
            _finish(kept, above, status, new)
        elif stat.S_ISREG(status.st_mode):
            shutil.copyfile(above, new)
            _finish(kept, above, status, new)
        elif stat.S_ISSOCK(status.st_mode):
            return  # of a program that has ended
        else:
            os.mknod(new, status.st_mode, status.st_rdev)
            _finish(kept, above, status, new)
        os.replace(new, here)
    links[status.st_ino] = here


def _finish(kept: Kept, above: Path, status: os.stat_result, new: Path) -> None:
    """Give a new file or directory all that the one in the upper directory has."""
    if os.geteuid() == 0:
        os.chown(new, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(new, stat.S_IMODE(status.st_mode))
        for name, value in kept.attributes_of(above).items():
            os.setxattr(new, name, value)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


WHOLE = True
