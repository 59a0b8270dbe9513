"""Why it was refused, in words that help. Loaded only then.

    unshare-boot: PY_UNSHARE='net' refused, the program was not started
      what: net: unshare(CLONE_NEWNET): Operation not permitted (EPERM)
      why:  an ordinary user may do this only in a user namespace of its own
      cure: add user to the list: PY_UNSHARE='user,net'

The first two lines are made of the error alone; the others of what ``causes`` finds on the machine,
and left out if that fails in turn.
"""

import os
import sys
from errno import EEXIST, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, errorcode

from .errors import UnshareError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .namespaces import Plan

OBVIOUS = (ENOENT, EEXIST, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG)
LONGEST = 2000  # characters of one line
UNKNOWN = "none of the known causes was found on this machine"
PROJECT = "https://github.com/unshare-boot/unshare-boot/issues"


def explain(text: str, error: BaseException, started: bool = False, root: str = "") -> bytes:
    """Say what was asked for, what failed, why that is on this machine, and what to do.

    Args:
        text: the list.
        error: what was raised over it.
        started: the program was started all the same (PY_UNSHARE_ON_ERROR=warn).
        root: the directory to look at instead of ``/``, for tests.

    Returns:
        The lines to write to standard error. Nothing is ever raised.
    """
    outcome = "started all the same, un-isolated" if started else "not started"
    lines = [f"unshare-boot: PY_UNSHARE={_show(text)} refused, the program was {outcome}"]
    try:
        lines.append(f"  what: {_what(error)}")
        for label, words in zip(("why: ", "cure:"), _why(text, error, root)):
            if words:
                lines.append(f"  {label} {_one_line(words)}")
    except BaseException:  # the refusal itself must not be lost over its explanation
        if len(lines) == 1:
            lines.append(f"  what: {type(error).__name__}")
    return "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace")


def _show(text: str) -> str:
    try:
        from .spec import show
    except ImportError:  # an incomplete installation: what is to be told is just that
        return repr(text[:70])
    return show(text)


def _what(error: BaseException) -> str:
    if isinstance(error, UnshareError):
        item, call = error.item, error.call
    elif isinstance(error, OSError):
        item, call = "", str(error.filename or "")
    elif isinstance(error, KeyboardInterrupt):
        return "interrupted (SIGINT, Ctrl-C) before the program could start"
    else:
        words = _one_line(str(error))
        return type(error).__name__ + (f": {words}" if words else "")
    number = error.errno or 0
    if call[:1] == "/":
        call = f"open({call})"
    parts = [part for part in (item, call, error.strerror or "no reason given") if part]
    code = f" ({errorcode.get(number, number)})" if call and number else ""
    return _one_line(": ".join(parts)) + code


def _why(text: str, error: BaseException, root: str) -> "tuple[str, str]":
    if isinstance(error, OSError):
        if isinstance(error, UnshareError):
            item, call = error.item, error.call
            if error.errno == EINVAL and not call:  # the list is not understood, and that is all
                return "", ""
        else:
            item, call = "", str(error.filename or "")
        return _checked(text, item, call, error.errno or 0, error.strerror or "", root)
    if isinstance(error, KeyboardInterrupt):
        return "", "start it again"
    if isinstance(error, MemoryError):
        from .machine import Machine

        limit = Machine(root).limit("Max address space")
        if limit.isdigit():
            return f"the process may have {limit} bytes (RLIMIT_AS)", "ulimit -v unlimited"
        return "there was no memory left for it", ""
    if isinstance(error, (ImportError, SyntaxError, EOFError)):
        return _broken(error)
    return "this should not happen: a fault of unshare-boot", f"please report it: {PROJECT}"


def _checked(
    text: str, item: str, call: str, errno: int, reason: str, root: str
) -> "tuple[str, str]":
    from .causes import Case, find
    from .machine import Machine

    machine = Machine(root)
    name = item.partition("=")[0]
    found = find(Case(text, _plan(text), name, call, errno, reason, machine))
    if found:
        return found
    if not call or errno in OBVIOUS:  # then the reason says all that there is to say
        return "", ""
    return (
        f"{UNKNOWN} (Linux {machine.release()}, uid {machine.ids()[0]})",
        "python -m unshare_boot (shows what can be had here)",
    )


def _plan(text: str) -> "Plan | None":
    from .spec import parse

    try:
        return parse(text)
    except UnshareError:
        return None


def _broken(error: "ImportError | SyntaxError | EOFError") -> "tuple[str, str]":
    name = getattr(error, "name", None) or ""
    file = getattr(error, "filename", None) or getattr(error, "path", None) or ""
    ours = os.path.dirname(os.path.abspath(__file__))
    if isinstance(error, ImportError) and not name.startswith(__package__ or ""):
        return (
            f"this Python, {sys.executable}, is without its module {name or '?'}",
            "install Python's whole standard library (Debian and Ubuntu: apt install python3)",
        )
    again = f"{sys.executable} -m pip install --force-reinstall unshare-boot"
    what = name or file or "a module"
    return f"unshare-boot is installed incompletely in {ours}: {what} cannot be loaded", again


def _one_line(words: str) -> str:
    """Return words without what would move a terminal's cursor, and without an endless path.

    What is left out is in the middle: the reason stands at the end.
    """
    if len(words) > LONGEST:
        words = f"{words[: LONGEST - 500]}...{words[-500:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


WHOLE = True
