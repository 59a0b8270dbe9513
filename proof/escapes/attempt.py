"""What an attempt is, and the list of them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Scene = dict[str, Any]
Function = Callable[[Scene], object]


class Control(NamedTuple):
    """Who reaches it, so that the attempt is known to be one.

    Attributes:
        unshare: the list; None for no isolation.
        as_root: whether it is root.
        capability: what root has to have for it, and lacks in some containers; its number.
    """

    unshare: str | None = None
    as_root: bool = False
    capability: int | None = None


USER = Control()
ROOT = Control(as_root=True)
ROOT_IN_NET = Control("net", as_root=True)
CAP_SYS_RESOURCE = 24


class Attempt(NamedTuple):
    """One way to try.

    Attributes:
        name: as in the page.
        function: raises OSError where it is refused; returns what it has got otherwise.
        controls: who does reach it.
        noticed: what has to be noticed outside for it to count as reached; a name in
            `outside.World`, or "" where what the attempt says is enough.
        inherits: the descriptors that it is started with, by their names in `outside.World`.
        needs: what the scene has to have, which on some machines it has not.
        lacking: with these errors the control says that the kernel has no such thing at all.
    """

    name: str
    function: Function
    controls: tuple[Control, ...]
    noticed: str
    inherits: tuple[str, ...]
    needs: tuple[str, ...]
    lacking: tuple[str, ...]


ATTEMPTS: dict[str, Attempt] = {}


class Refused(Exception):
    """Several errors in place of one."""


def attempt(
    name: str,
    *controls: Control,
    noticed: str = "",
    inherits: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
    lacking: tuple[str, ...] = ("ENOSYS",),
) -> Callable[[Function], Function]:
    """Put a function into the list; arguments as the attributes of `Attempt`."""

    def add(function: Function) -> Function:
        assert name not in ATTEMPTS, name
        ATTEMPTS[name] = Attempt(name, function, controls, noticed, inherits, needs, lacking)
        return function

    return add


def each(tries: Iterable[Callable[[], object]], gone: tuple[int, ...] = ()) -> object:
    """Make several tries: one that succeeds is enough.

    Args:
        tries: what to call.
        gone: errors that do not count, since what was tried has just ended.
    """
    errors = set()
    for one in tries:
        try:
            return one()
        except OSError as error:
            if error.errno not in gone:
                errors.add(errno.errorcode[error.errno or 0])
    if not errors:
        raise OSError(errno.ENOENT, "there is nothing to try")
    raise Refused(*sorted(errors))


def let_through(number: int, function: Callable[[], object]) -> None:
    """Call something wrong on purpose, which whoever has the right is told by another error."""
    try:
        function()
    except OSError as error:
        if error.errno != number:
            raise


def outcome(name: str, scene: Scene) -> dict[str, Any]:
    """Make an attempt; returns {"got": …}, or {"refused": [names of errors]}."""
    try:
        got = ATTEMPTS[name].function(scene)
    except OSError as error:
        return {"refused": [errno.errorcode[error.errno or 0]]}
    except Refused as error:
        return {"refused": sorted(set(error.args))}
    return {"got": got}
