"""Making the changes that an overlay has kept in a directory, where no overlay is."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from errno import EBUSY
from pathlib import Path

from .. import enter, plan_of
from ..errors import UnshareError
from ..language.readers import escaped
from ..refusal.machine import Machine
from ..start.rehearsal import rehearse
from . import Kept, is_same, status_of


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
        status, was = above.lstat(), status_of(here)
        is_directory = stat.S_ISDIR(status.st_mode)
        both = was is not None and is_directory and stat.S_ISDIR(was.st_mode)
        if kept.is_whiteout(above, status):
            _remove(here)
            continue
        if was is not None and stat.S_ISDIR(was.st_mode) != is_directory:
            _remove(here)
        if is_directory:
            if not both:
                here.mkdir()
            _apply(kept, above, here, links)
            _finish(kept, above, status, here)
        elif was is None or not is_same(above, status, here, was):
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
