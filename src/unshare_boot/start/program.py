"""PY_UNSHARE_ONLY: which programs the list is meant for."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..errors import UnshareError


def is_named(patterns: str) -> bool:
    """Tell whether the program that is starting is one of those to isolate.

    Args:
        patterns: names with commas between them, of a script (its base name) or of a module that
            ``-m`` runs; each may be a glob pattern, as in fnmatch(3).

    Raises:
        UnshareError: a name is empty, which would silently match no program, or this Python cannot
            make sense of a glob pattern (EINVAL).
    """
    names = [pattern.strip(" \t") for pattern in patterns.split(",")]
    if "" in names:
        raise _bad("has an empty name: name programs, such as pytest,manage.py, or unset it")
    starting = program()
    if starting in names:
        return True
    globs = [name for name in names if "*" in name or "?" in name or "[" in name]
    if not globs:
        return False
    from fnmatch import fnmatchcase
    from re import error

    for name in globs:
        try:
            if fnmatchcase(starting, name):
                return True
        except error as reason:  # [z-a], up to Python 3.9
            raise _bad(f"{name!r} is no glob pattern: {reason}") from None
    return False


def _bad(reason: str) -> "UnshareError":
    from errno import EINVAL

    from ..errors import UnshareError

    return UnshareError(EINVAL, reason, "PY_UNSHARE_ONLY")


def program() -> str:
    """Return the name of the program that is starting, without running any of it.

    Returns:
        The base name of a script, directory or archive; the module after ``-m``; ``-c`` for code
        on the command line; ``-`` for standard input or a prompt; the base name of the program
        that has an interpreter inside.
    """
    script = sys.argv[0] if sys.argv else ""
    if script == "-m":
        return _module(command_line())
    if script == "-c" or script == "-":
        return script
    if script == "":
        return host() or "-"
    name = script.rstrip("/").rpartition("/")[2]
    if name in ("", ".", ".."):  # a directory
        name = os.path.basename(os.path.realpath(script))
    return name


def command_line() -> "list[str]":
    """Return the process's whole command line, the interpreter and its options included."""
    if hasattr(sys, "orig_argv"):  # from 3.10 on
        return list(sys.orig_argv)
    with open("/proc/self/cmdline", "rb") as file:
        return [os.fsdecode(argument) for argument in file.read().split(b"\0")[:-1]]


def host() -> str:
    """Return the name of the program that has this interpreter inside; empty if it is a Python.

    An interpreter is named python and knows its command line. The host of mod_wsgi is apache2, and
    an embedding program that happens to be called python-something tells Python of no arguments.
    """
    name = os.path.basename(os.path.realpath("/proc/self/exe"))
    if not name.startswith(("python", "pypy")):
        return name
    known = command_line()
    if not hasattr(sys, "orig_argv"):
        told = sys.argv[1:]
        no_program = sys.argv[0] == "" and known[1:2] and known[1][:1] != "-"
        if no_program or known[len(known) - len(told) :] != told:
            known = []
    return "" if known else name


def _module(arguments: "list[str]") -> str:
    """Return what follows ``-m`` among the interpreter's own options, as Python/getopt.c reads."""
    rest = iter(arguments[1:])
    for argument in rest:
        if argument[:1] == "-" and argument[:2] != "--":
            for at, letter in enumerate(argument[1:], 2):
                if letter == "m":
                    return argument[at:] or next(rest, "")
                if letter in "WX":
                    if not argument[at:]:
                        next(rest, None)
                    break
    return ""


WHOLE = True
