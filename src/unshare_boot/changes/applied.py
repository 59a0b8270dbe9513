"""Making the changes that an overlay has kept in a directory, where no overlay is."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from errno import EACCES, EBUSY, EINVAL, ENOTSUP, EPERM
from pathlib import Path
from typing import TYPE_CHECKING

from .. import enter, plan_of
from ..errors import UnshareError, shown
from ..language.readers import escaped
from ..refusal.machine import Machine
from ..start.rehearsal import rehearse
from . import Kept, is_same, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_TO_BE_HAD = (EACCES, EINVAL, ENOTSUP, EPERM)  # of an owner or an attribute
OF_SELINUX = "security.selinux"


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


class Stopped(OSError):
    """Something could not be made: what was made before stays."""

    def __init__(self, error: OSError) -> None:
        """Say of an error that it was the end."""
        super().__init__(f"{error}: what was applied before that stays, and can be applied again")


def apply(kept: Kept, target: Path) -> list[str]:
    """Make the changes in a directory.

    Args:
        kept: the changes.
        target: the directory.

    Returns:
        What of them could not be had, although the files are there: owners and attributes that
        this user may not give, or that the file system does not know. A line each.

    Raises:
        NotADirectoryError: there is no such directory.
        Stopped: something cannot be read or written.
    """
    if not target.is_dir():
        raise NotADirectoryError(f"{str(target)!r} is no directory")
    applying = Applying(kept)
    try:
        applying.directory(kept.upper, target)
    except OSError as error:
        raise Stopped(error) from error
    return applying.left_out


class Applying:
    """Changes on their way.

    Attributes:
        left_out: what could not be had.
    """

    def __init__(self, kept: Kept) -> None:
        """Nothing is made yet."""
        self.left_out: list[str] = []
        self._kept = kept
        self._links: dict[int, Path] = {}

    def directory(self, upper: Path, target: Path) -> None:
        """Make the changes of a directory, and of those in it."""
        names = sorted(os.listdir(upper))
        if self._kept.is_opaque(upper):
            for name in {*os.listdir(target)} - {*names}:
                _remove(target / name)
        for name in names:
            above, here = upper / name, target / name
            status, was = above.lstat(), status_of(here)
            is_directory = stat.S_ISDIR(status.st_mode)
            both = was is not None and is_directory and stat.S_ISDIR(was.st_mode)
            if self._kept.is_whiteout(above, status):
                _remove(here)
                continue
            if was is not None and stat.S_ISDIR(was.st_mode) != is_directory:
                _remove(here)
            if is_directory:
                if not both:
                    here.mkdir()
                self.directory(above, here)
                self._finish(above, status, here, here)
            elif was is None or not is_same(above, status, here, was):
                self._put(above, status, here)

    def _put(self, above: Path, status: os.stat_result, here: Path) -> None:
        """Put a file in its place, at once: nobody sees a part of it."""
        with tempfile.TemporaryDirectory(prefix=".unshare-boot-", dir=here.parent) as directory:
            new = Path(directory, "new")
            if status.st_nlink > 1 and status.st_ino in self._links:
                os.link(self._links[status.st_ino], new, follow_symlinks=False)
            elif stat.S_ISSOCK(status.st_mode):
                return  # of a program that has ended
            else:
                _make(above, status, new)
                self._finish(above, status, new, here)
            os.replace(new, here)
        self._links[status.st_ino] = here

    def _finish(self, above: Path, status: os.stat_result, new: Path, here: Path) -> None:
        """Give a new file or directory all that the one in the upper directory has."""
        if os.geteuid() == 0:
            with self._if_possible(here, "owner"):
                os.chown(new, status.st_uid, status.st_gid, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(new, stat.S_IMODE(status.st_mode))
            for name, value in self._kept.attributes_of(above).items():
                with self._if_possible(here, name):
                    os.setxattr(new, name, value)
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)

    @contextmanager
    def _if_possible(self, here: Path, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in NOT_TO_BE_HAD:
                raise
            if what != OF_SELINUX:  # who makes a file gives it one that is right for the place
                self.left_out.append(f"{shown(str(here))}: without its {what}: {error.strerror}")


def _make(above: Path, status: os.stat_result, new: Path) -> None:
    """Make a file like one of the upper directory."""
    if stat.S_ISLNK(status.st_mode):
        new.symlink_to(os.readlink(above))
    elif stat.S_ISREG(status.st_mode):
        shutil.copyfile(above, new)
    else:
        os.mknod(new, status.st_mode, status.st_rdev)


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


WHOLE = True
