"""What this Python has to find after the mounts of a list, and which item would cover it.

Modules are loaded after the mounts, by a refusal too: without them there would be no message, or
one that blames something else. So this is looked at before anything is entered.
"""

import os
import sys
from errno import EBUSY, EINVAL

from ..errors import UnshareError, named
from ..language.readers import escaped
from ..namespaces import OUTBOUND, Plan
from ..procfiles import is_below
from .mounts import covers_it, existing, kept_below, working_directory

PACKAGES = ("site-packages", "dist-packages")
KEPT_BY = {"hide": "ro", "tmpfs": "rw"}  # what has something stay below an item that covers it


def require_in_sight(plan: Plan) -> None:
    """Refuse a list that covers the interpreter, its packages or the working directory.

    And, where there is a way out, the resolver's configuration: it may be a link into /run.

    Raises:
        UnshareError: ``item`` is what covers it, ``target`` is what is covered of Python.
    """
    for path, item in covered(plan, needed()).items():
        path = path.rstrip("/")
        reason = f"covers {path!r}, from which this Python loads its modules"
        raise UnshareError(EBUSY, reason, item, "", path)
    if plan.net in OUTBOUND:
        _require_resolver(plan)
    directory = working_directory()
    for item in covered(plan, [directory]).values():
        raise covers_it(directory, item, EINVAL)


def _require_resolver(plan: Plan) -> None:
    from ..resolv_conf import RESOLV_CONF, is_on_loopback

    if is_on_loopback():  # another file is put in its place
        return
    for path, item in covered(plan, [os.path.realpath(RESOLV_CONF)]).items():
        name = item.partition("=")[0]
        cure = "have it cover other directories, one by one"
        if name in KEPT_BY:
            cure = f"add {KEPT_BY[name]}={escaped(os.path.dirname(path))}"
        reason = f"covers {path!r}, by which names are found: {cure}"
        raise UnshareError(EINVAL, reason, item)


def needed() -> "list[str]":
    """Return what Python loads modules from, as it names it and without links; / ends a directory.

    Directories that were added by PYTHONPATH are the program's.
    """
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    directories = [
        sys.prefix,
        sys.base_prefix,
        os.path.dirname(getattr(os, "__file__", "")),
        package,
    ]
    directories += [path for path in sys.path if os.path.basename(path) in PACKAGES]
    found = [f"{path}/" for path in directories if path]
    found += [sys.executable] if sys.executable else []
    every = []
    for path in found:
        end = "/" if path[-1] == "/" else ""
        every += [os.path.abspath(path) + end, os.path.realpath(path) + end]
    return list(dict.fromkeys(every))


def covered(plan: Plan, paths: "list[str]") -> "dict[str, str]":
    """Return those of several absolute paths that the mounts would leave nothing of.

    Args:
        plan: the list.
        paths: what to look for; where one ends in / it matters what is in there, too.

    Returns:
        Each with the item that covers it.
    """
    directory = working_directory()
    found: dict[str, str] = {}
    bound = False
    for name, *values in plan.operations:
        if name not in ("tmpfs", "hide", "bind"):
            continue
        try:
            target = existing(directory, values[-1 if name == "bind" else 0])
        except UnshareError:
            continue
        if target == "/":
            continue  # its own turn will tell, as of what is missing
        for path in paths:
            if path != target and not is_below(path, target):
                continue
            if name == "bind":
                source = os.path.join(directory, values[0]) + path[len(target) :]
                # What was bound before it is not seen yet.
                there = bound or os.path.lexists(source.rstrip("/"))
            else:
                names = ("rw", "ro") if name == "hide" else ("rw",)
                kept = kept_below(plan, directory, target, names)
                there = any(is_below(f"{path}/", each) for each in kept)
                there = there or (name == "tmpfs" and path == target and path not in found)
            if not there:
                found[path] = named(name, ":".join(values))
            elif name == "bind":
                found.pop(path, None)
        bound = bound or name == "bind"
    return found


WHOLE = True
