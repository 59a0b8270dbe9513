"""Why it was refused, in words that help. Loaded only then.

    unshare-boot: PY_UNSHARE='net' refused, the program was not started
      what: net: unshare(CLONE_NEWNET): Operation not permitted (EPERM)
      why:  an ordinary user may do this only in a user namespace of its own
      cure: add user to the list: PY_UNSHARE='user,net'
      more: docs/troubleshooting.md#lists-without-user

Of several lists, A|B, each has its lines, with a line ``list:`` before them.

The first two lines are made of the error alone; the others of what ``causes`` finds on the machine,
and left out if that fails in turn.
"""

import os
import sys
from errno import EEXIST, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, errorcode

from ..errors import UnshareError, failed, shown
from .pages import more

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces import Plan

    Diagnosis = tuple[str, str, str]

PACKAGE = __name__.partition(".")[0]
OBVIOUS = (ENOENT, EEXIST, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG)
UNKNOWN = "none of the known causes was found on this machine"
LONGEST = 2000  # characters of one line
LONGEST_END = 500  # of these, at its end
PROJECT = "https://github.com/unshare-boot/unshare-boot/issues"

# Headings of docs/troubleshooting.md which are no cause of a system call's failure.
UNKNOWN_CAUSE = "none-of-the-known-causes"
OUT_OF_MEMORY = "memory"
INCOMPLETE = "incomplete-installation"
FAULT = "a-fault-of-unshare-boot"

NOTHING = "", "", ""


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
    lines = [f"unshare-boot: PY_UNSHARE={shown(text)} refused, the program was {outcome}"]
    try:
        several = getattr(error, "refused", ())
        for each, its_error in several or [(text, error)]:
            if several:
                lines.append(f"  list: {_one_line(each)}")
            lines.append(f"  what: {_what(its_error)}")
            slug, why, cure = diagnose(each, its_error, root)
            for label, words in (("why: ", why), ("cure:", cure), ("more:", more(slug))):
                if words:
                    lines.append(f"  {label} {_one_line(words)}")
    except BaseException:  # the refusal itself must not be lost over its explanation
        if len(lines) == 1:
            lines.append(f"  what: {type(error).__name__}")
    return "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace")


def diagnose(text: str, error: BaseException, root: str = "") -> "Diagnosis":
    """Find out why something was refused, and what to do.

    Args:
        text: the list.
        error: what was raised over it.
        root: the directory to look at instead of ``/``, for tests.

    Returns:
        The anchor of the heading (see pages), why, and the cure; each empty where
        there is nothing to say.
    """
    if isinstance(error, OSError):
        return _diagnose_refusal(text, failed("", error), root)
    if isinstance(error, KeyboardInterrupt):
        return "", "", "start it again"
    if isinstance(error, MemoryError):
        from .machine import Machine

        limit = Machine(root).limit("Max address space")
        if limit.isdigit():
            why = f"the process may have {limit} bytes (RLIMIT_AS)"
            return OUT_OF_MEMORY, why, "ulimit -v unlimited"
        return OUT_OF_MEMORY, "there was no memory left for it", ""
    if isinstance(error, (ImportError, SyntaxError, EOFError)):
        return INCOMPLETE, *_incomplete(error)
    module = getattr(error, "obj", None)  # of an AttributeError, Python 3.10
    if isinstance(module, type(os)) and module.__name__.partition(".")[0] != PACKAGE:
        file = getattr(module, "__file__", None) or ""
        return INCOMPLETE, *_not_ours(file, module.__name__)
    return FAULT, "this should not happen: a fault of unshare-boot", f"please report it: {PROJECT}"


def _what(error: BaseException) -> str:
    if isinstance(error, OSError):
        refusal = failed("", error)
        call, number = refusal.call, refusal.errno or 0
        parts = [refusal.item, call, refusal.strerror or "no reason given"]
        code = f" ({errorcode.get(number, number)})" if call and number else ""
        return _one_line(": ".join(part for part in parts if part)) + code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted (SIGINT, Ctrl-C) before the program could start"
    words = _one_line(str(error))
    return type(error).__name__ + (f": {words}" if words else "")


def _diagnose_refusal(text: str, error: UnshareError, root: str) -> "Diagnosis":
    if error.errno == EINVAL and not error.system_call:  # the list is not understood
        return NOTHING
    from .causes import find
    from .causes.case import Case
    from .machine import Machine

    machine = Machine(root)
    found = find(Case(text, _plan(text), error, machine))
    if found:
        return found
    if not error.system_call or error.errno in OBVIOUS:  # the reason says all that there is to say
        return NOTHING
    return (
        UNKNOWN_CAUSE,
        f"{UNKNOWN} (Linux {machine.release()}, uid {machine.ids()[0]})",
        "python -m unshare_boot (shows what is available here)",
    )


def _plan(text: str) -> "Plan | None":
    from ..language import parse

    try:
        return parse(text)
    except UnshareError:
        return None


def _incomplete(error: "ImportError | SyntaxError | EOFError") -> "tuple[str, str]":
    name = getattr(error, "name", None) or ""
    file = getattr(error, "filename", None) or getattr(error, "path", None) or ""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if isinstance(error, ImportError) and name and name.partition(".")[0] != PACKAGE:
        return _not_ours("" if isinstance(error, ModuleNotFoundError) else file, name)
    again = f"{sys.executable} -m pip install --force-reinstall {PACKAGE.replace('_', '-')}"
    what = name or file or "a module"
    return f"unshare-boot is installed incompletely in {ours}: {what} cannot be loaded", again


def _not_ours(file: str, name: str) -> "tuple[str, str]":
    """Say what is wrong with a module of Python's: it is missing, or another file in its place."""
    if not file or _is_python_s(file):
        return (
            f"this Python, {sys.executable}, lacks its module {name}, or a part of it",
            "install Python's whole standard library (Debian and Ubuntu: apt install python3)",
        )
    found = _one_line(file)
    directory = _one_line(os.path.dirname(file))
    return (
        f"{found} is in the place of Python's own module {name}",
        f"take {directory} off PYTHONPATH and out of .pth files, or give {found} another name",
    )


def _is_python_s(file: str) -> bool:
    library = os.path.dirname(os.path.abspath(os.__file__))
    return os.path.abspath(file).startswith(library + os.sep) and "site-packages" not in file


def _one_line(words: str) -> str:
    """Return words without what would move a terminal's cursor, and without an endless path.

    What is left out is in the middle: the reason is at the end.
    """
    if len(words) > LONGEST:
        words = f"{words[: LONGEST - LONGEST_END]}...{words[-LONGEST_END:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


WHOLE = True
