"""Linux namespaces for any Python program, by one environment variable.

``PY_UNSHARE=user,net,mount python app.py`` puts the interpreter into new namespaces while it
starts. This file tells the whole story of such a start, top-down, in `boot`; ``spec`` turns the
list into a plan (``namespaces`` knows the plainest lists itself), ``namespaces`` carries it out.

A program that wants to know or do more inside finds it here too. Everything that a start does not
need is loaded when it is first used, so that importing the package costs next to nothing.

PYTEST_DONT_REWRITE, because it is loaded before pytest could, which pytest would warn of.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Callable, NoReturn

    from .errors import UnshareError as UnshareError
    from .inside import active as active
    from .inside import bind_mount as bind_mount
    from .inside import original_gid as original_gid
    from .inside import original_uid as original_uid
    from .inside import write_group_map as write_group_map
    from .inside import write_user_map as write_user_map
    from .namespaces import Plan

__version__ = "0.1.0"

__all__ = [
    "UnshareError",
    "active",
    "bind_mount",
    "boot",
    "original_gid",
    "original_uid",
    "unshare",
    "write_group_map",
    "write_user_map",
]

REFUSED = 125  # the status of env(1), timeout(1) and chroot(1) for "the launcher itself failed"


def _boot() -> None:
    """Enter the namespaces that PY_UNSHARE asks for; what the .pth line calls.

    Returns when everything asked for holds, or when the variable is unset or says to do nothing.
    Otherwise writes the reason to standard error and ends the process with status 125, there and
    then, because site.py would swallow an exception and start the program un-isolated.

    A sitecustomize.py, a frozen application or a zipapp calls it as early as it can.
    """
    text = os.environ.get("PY_UNSHARE")
    if text is None:
        return
    try:
        if text.startswith("=started-over "):
            from .startover import arrive

            arrive(text)
            _check_whole()
            return
        if "PY_UNSHARE_ONLY" in os.environ:
            from .only import meant

            if not meant(os.environ["PY_UNSHARE_ONLY"]):
                _check_whole()
                return
        del os.environ["PY_UNSHARE"]
        if "PY_UNSHARE_ON_ERROR" in os.environ:
            from .rehearsal import may_be_had

            if not may_be_had(text, os.environ["PY_UNSHARE_ON_ERROR"]):
                _check_whole()
                return
        _isolate(text)
    except BaseException as error:
        _refuse(text, error)


def _unshare(text: str) -> None:
    """Enter the namespaces of a list from a program's first line, before it starts a thread.

    The list is tried in a child first, so that a refusal leaves the process as it was. Should the
    kernel change its mind after that, the process ends with status 125: half of a list is neither
    what was asked for nor what there was.

    Args:
        text: a list in the language of PY_UNSHARE, such as ``user,net``.

    Raises:
        UnshareError: the list is not understood (EINVAL), the process has threads (EINVAL), or
            the kernel refuses: the errno of the system call that failed.
    """
    from .rehearsal import rehearse

    if rehearse(text):
        try:
            _isolate(text)
        except BaseException as error:
            _refuse(text, error)
    else:  # the list is off, or the rehearsal cut short
        _check_whole()


def _isolate(text: str) -> None:
    plan = _plan(text)
    if plan is None:
        return
    try:
        _enter(plan)
    except OSError as error:
        from errno import EINVAL

        from .errors import UnshareError

        if isinstance(error, UnshareError) and error.errno == EINVAL:
            from .startover import start_over

            if start_over(text, error):
                return
        raise


def _plan(text: str) -> "Plan | None":
    from .namespaces import OFF, plain_plan

    if text.strip(" \t").lower() in OFF:
        return None
    plan = plain_plan(text)
    if plan is None:
        from .spec import parse

        plan = parse(text)
        if plan is None:
            raise ImportError("spec.py is cut short", name=f"{__name__}.spec")
    if sys.platform != "linux":
        from errno import ENOSYS

        from .errors import UnshareError

        raise UnshareError(ENOSYS, f"namespaces are a part of Linux, and this is {sys.platform}")
    return plan


def _enter(plan: "Plan") -> None:
    from .namespaces import enter

    entered = enter(plan, _reporter())
    if "PY_UNSHARE_ACTIVE" in os.environ:  # set by an outer start: what of it still holds
        from .inside import holding

        entered = {**holding(), **entered}
    os.environ["PY_UNSHARE_ACTIVE"] = ",".join(f"{name}={inode}" for name, inode in entered.items())
    _check_whole()


def _check_whole() -> None:
    """Raise ImportError if a file was cut short: what it lacks may be what isolates.

    A Python file that ends early, at the end of a line, is a valid one. So the last line of each
    says that it is all there.
    """
    for name, module in tuple(sys.modules.items()):
        if name.startswith("unshare_boot.") and not hasattr(module, "WHOLE"):
            raise _cut_short(module)


def _cut_short(module: "ModuleType") -> ImportError:
    return ImportError(f"{module.__file__} is cut short: install unshare-boot anew")


def _reporter() -> "Callable[[str], None] | None":
    if os.environ.get("PY_UNSHARE_VERBOSE", "0") in ("", "0"):
        return None
    from .verbose import reporter

    return reporter()


def _refuse(text: str, error: BaseException) -> "NoReturn":
    try:
        try:
            from .diagnosis import explain

            message = explain(text, error)
        except BaseException:  # an install broken in one place may be broken here too
            message = b"unshare-boot: not started: %a\n" % f"{type(error).__name__}: {error}"
        os.write(2, message)
    finally:
        os._exit(REFUSED)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "UnshareError":
        from .errors import UnshareError

        return UnshareError
    from . import inside

    if not hasattr(inside, "WHOLE"):
        raise _cut_short(inside)
    return getattr(inside, name)


# They get their names last. A file that was cut short, by a full disk say, lacks these, where a
# function that was cut short would do nothing and say nothing.
unshare = _unshare
boot = _boot
