"""The directory that an overlay keeps its changes in: ``overlay=DIR:CHANGES``.

    CHANGES/upper   what was written, as overlayfs(5) has it: its upperdir
    CHANGES/work    its workdir, which has to be on the same file system
    CHANGES/of      what kind of extended attributes it has, and the directory that it is for
    CHANGES/below   the same three for each mount below that directory, by its path in there

The command ``unshare-boot changes`` reads it.
"""

import os
from errno import EBUSY, EINVAL, ESTALE
from time import sleep

from ..errors import UnshareError
from ..namespaces import O_PATH, refused
from ..procfiles import is_below, mount_number, mounts_of
from .overlay import attributes, make, owned_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces import Hold
    from .overlay import Option, Over

UPPER, WORK, OF, BELOW = "upper", "work", "of", "below"
# What would make changes that say nothing without what is below, or that suit this kernel alone.
PLAIN: "tuple[Option, ...]" = (("metacopy", "off"), ("redirect_dir", "nofollow"))
# Refuses an upper directory that another overlay has, at whose end the kernel frees it.
ALONE: "tuple[Option, ...]" = (("index", "on"),)
UNFIT = ("overlay", "nfs", "nfs4", "9p", "vfat", "exfat", "fuse", "virtiofs", "ramfs")
PATIENCE = 40  # tries
PAUSE = 0.05  # seconds


def keeping_in(path: str, top: str, hold: "Hold") -> "Over":
    """Return what makes overlays whose changes are kept.

    Args:
        path: of the directory for them, without symbolic links. That it is in use, or not fit for
            it, is an UnshareError of the function that is returned.
        top: the directory that is covered; what is mounted below has a place below ``path``.
        hold: as in a `Start`.
    """

    def keep(target: str, lower: int) -> int:
        kept = path if target == top else _of_mount_below(path, target[len(top.rstrip("/")) + 1 :])
        return _overlay(kept, target, lower, hold)

    return keep


def _of_mount_below(path: str, name: str) -> str:
    """Return the directory for the changes of what is mounted below, and have it made."""
    below = os.path.join(path, BELOW)
    try:
        os.makedirs(below, exist_ok=True)
    except OSError as error:
        raise refused(error, "mkdir", below) from None
    return os.path.join(below, name.replace("%", "%25").replace("/", "%2F"))


def _overlay(path: str, target: str, lower: int, hold: "Hold") -> int:
    top = _prepare(path, target)
    options = ALONE if attributes() == "user" else (*ALONE, *PLAIN)
    try:
        for _ in range(PATIENCE):
            try:
                made = make(lower, top, options)
            except UnshareError as error:
                if error.errno != EBUSY:
                    raise
                sleep(PAUSE)  # the last one may be about to end
            else:
                os.chmod(f"/proc/self/fd/{top}/{WORK}/work", 0o700)  # for those who remove it
                if hold:
                    hold(target, top, lower)
                return made
        reason = f"{path!r} is in use: a program that was started with it still runs"
        raise UnshareError(EBUSY, reason)
    except UnshareError as error:
        kind = _kind(top)
        if error.errno == ESTALE:
            reason = f"{target!r} was replaced since {path!r} was made for it: start with a new one"
            raise UnshareError(EINVAL, reason) from error
        if error.errno == EINVAL and kind in UNFIT:
            reason = f"{path!r} is on {kind}, where overlayfs keeps no changes: name another place"
            raise UnshareError(EINVAL, reason) from error
        raise
    finally:
        os.close(top)


def _kind(descriptor: int) -> str:
    """Return the type of the file system that something is on."""
    number = mount_number(descriptor)
    return next((each.kind for each in mounts_of() if each.number == number), "")


def _prepare(path: str, target: str) -> int:
    """Make a directory for the changes of another, unless it is one already; return it open.

    Args:
        path: of the directory, without symbolic links.
        target: the same of the other one.

    Raises:
        UnshareError: it is not fit for it, or holds the changes of yet another.
    """
    if path == target or is_below(path, target) or is_below(target, path):
        reason = f"{path!r} and {target!r} may not lie within each other: overlayfs(5)"
        raise UnshareError(EINVAL, reason)
    try:
        if not os.path.lexists(path):
            os.mkdir(path)
        names = os.listdir(path)
        if not names:
            _fill(path, target)
        elif OF not in names:
            raise UnshareError(EINVAL, f"{path!r} is not empty, and holds no changes of an overlay")
        kind, directory = read(path)
        if directory != target:
            raise UnshareError(EINVAL, f"{path!r} holds the changes of {directory!r}")
        if kind != attributes():
            who = "root" if kind == "trusted" else "an ordinary user, or in a user namespace"
            raise UnshareError(EINVAL, f"{path!r} was made by {who}, and is of no use to others")
        return os.open(path, O_PATH | os.O_CLOEXEC)
    except UnshareError:
        raise
    except ValueError as error:
        raise UnshareError(EINVAL, str(error)) from None
    except OSError as error:
        raise refused(error, "open", error.filename or path) from None


def read(path: str) -> "tuple[str, str]":
    """Return the kind of attributes of a directory of changes, and whose changes they are.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such directory.
    """
    with open(os.path.join(path, OF), "rb") as file:
        kind, separator, directory = file.read().partition(b"\n")
    if not separator or kind not in (b"user", b"trusted"):
        raise ValueError(f"{path!r} holds no changes of an overlay")
    return kind.decode(), os.fsdecode(directory)


def _fill(path: str, target: str) -> None:
    below = os.stat(target)
    upper = os.path.join(path, UPPER)
    os.mkdir(upper)
    os.mkdir(os.path.join(path, WORK))
    owned_as(upper, below)
    with open(os.path.join(path, OF), "wb") as file:
        file.write(attributes().encode() + b"\n" + os.fsencode(target))


WHOLE = True
