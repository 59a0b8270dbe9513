"""The command ``unshare-boot``, or ``python -m unshare_boot``.

Without a command it shows what is available here, or why not; ``check`` asks for one list,
``where`` for other Pythons, ``run`` starts any program inside a list, ``allow`` reads a record of
the gate's, and ``changes`` what an overlay has kept.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__, enter_or_refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

DESCRIPTION = """\
Show whether PY_UNSHARE takes effect for this Python, and which items of its
language this machine gives to this user: each is tried in a child process,
which then ends. Nothing is changed."""

EPILOG = """\
exit status: 0 if the hook runs, the list of `check` works, PY_UNSHARE takes
effect in all Pythons that `where` was given, or in any of PATH, or `changes`
has applied all; 1 if not; 2 for a wrong command line, or what cannot be read or
written; that of the command for `run`. NO_COLOR switches colours
off."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the command line after the program's name; the process's own if None.

    Returns:
        The exit status: 0 for yes, 1 for no.
    """
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    if "\0" in getattr(chosen, "list", ""):
        parser.error("LIST has a NUL character")
    if chosen.command == "run":
        command = chosen.arguments[1:] if chosen.arguments[:1] == ["--"] else chosen.arguments
        if not command:
            parser.error("the following arguments are required: COMMAND")
        run_command(chosen.list, command)
    # Ignored, as it may have been inherited, every child would seem to have ended well: waitpid(2).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # paths need not suit the terminal
    if chosen.command == "allow":
        try:
            good, text = True, show_allow(chosen.record, chosen.json)
        except (OSError, ValueError, KeyError) as error:
            parser.error(f"{chosen.record} is no record: {error}")
    elif chosen.command == "changes":
        from .changes.shown import show_changes

        how = {"as_diff": chosen.diff, "as_json": chosen.json}
        try:
            text, left_out = show_changes(chosen.changes, chosen.apply, **how)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        good = not left_out
        for line in left_out:
            print(f"unshare-boot: {line}", file=sys.stderr)
    elif chosen.command == "where":
        good, text = show_where(chosen.pythons, chosen.json)
    else:
        good, text = show_answer(getattr(chosen, "list", None), chosen.json)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # … | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0 if good else 1


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(
        prog="unshare-boot",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"unshare-boot {__version__}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    check = commands.add_parser("check", help="say whether a list would work here")
    run = commands.add_parser("run", help="run a command inside a list, Python or not")
    for each in (check, run):
        each.add_argument("list", metavar="LIST", help="as PY_UNSHARE has it, such as user,net")
    where = commands.add_parser("where", help="say which Pythons look at PY_UNSHARE")
    where.add_argument(
        "pythons", metavar="PYTHON", nargs="*", help="paths or commands; those on PATH if none"
    )
    run.add_argument("arguments", metavar="COMMAND ...", nargs=argparse.REMAINDER, help="to run")
    allow = commands.add_parser("allow", help="print the allow items that a record asks for")
    allow.add_argument("record", metavar="RECORD", help="a file that record=FILE has written")
    changes = commands.add_parser("changes", help="show what an overlay has kept, or apply it")
    changes.add_argument("changes", metavar="CHANGES", help="as in overlay=DIR:CHANGES")
    changes.add_argument("--diff", action="store_true", help="show what has changed in text files")
    changes.add_argument("--apply", metavar="DIR", help="make the same changes in DIR")
    # Without a default of its own, or it would undo an earlier --json.
    for each in (check, where, allow, changes):
        each.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON")
    return parser


def show_answer(text: str | None, as_json: bool) -> tuple[bool, str]:
    """Return whether a list works here, or the hook without one, and what to print of it."""
    from . import doctor
    from .report import Style, show_report, show_verdict

    style = Style.of(sys.stdout)
    found: Any
    if text is None:
        found = doctor.examine()
        good, shown = found.hook.runs, show_report(found, style)
    else:
        found = doctor.check(text)
        good, shown = found.works, show_verdict(found, style)
    return good, json.dumps(found.as_dict(), indent=2) if as_json else shown


def show_where(pythons: list[str], as_json: bool) -> tuple[bool, str]:
    """Return whether these Pythons look at PY_UNSHARE, or any on PATH, and what to print."""
    from .report import Style
    from .where import show, where

    found = where(pythons)
    good = (all if pythons else any)(each.takes_effect for each in found)
    if as_json:
        return good, json.dumps([each.as_dict() for each in found], indent=2)
    return good, show(found, Style.of(sys.stdout))


def run_command(text: str, command: list[str]) -> NoReturn:
    """Enter a list, and execute a command: status 127 if there is none, 126 if it does not run."""
    enter_or_refuse(text)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"unshare-boot: {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def show_allow(path: str, as_json: bool) -> str:
    """Return what `allow_items` finds, a line each or as JSON."""
    from .recorded import allow_items

    items, left_out = allow_items(path)
    for line in left_out:
        print(f"unshare-boot: {line}", file=sys.stderr)
    return json.dumps(items, indent=2) if as_json else "\n".join(items)


WHOLE = True

if __name__ == "__main__":
    sys.exit(main())
