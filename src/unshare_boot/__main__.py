"""The command ``unshare-boot``, or ``python -m unshare_boot``: what works here, or why not."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from . import __version__, doctor
from .report import Style, show_report, show_verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

DESCRIPTION = """\
Show whether PY_UNSHARE takes effect for this Python, and which items of its
language this machine gives to this user: each is tried in a child process,
which then ends. Nothing is changed."""

EPILOG = """\
exit status: 0 if the hook runs, or the list of `check` works; 1 if not; 2 for
a wrong command line. NO_COLOR switches colours off."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the command line after the program's name; the process's own if None.

    Returns:
        The exit status: 0 for yes, 1 for no.
    """
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
    check.add_argument("list", metavar="LIST", help="as PY_UNSHARE has it, such as user,net")
    # Without a default of its own, or it would undo a --json before the command.
    check.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    chosen = parser.parse_args(arguments)
    # Ignored, as it may have been inherited, every child would seem to have ended well: waitpid(2).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # paths need not suit the terminal
    style = Style.of(sys.stdout)
    if chosen.command == "check":
        if "\0" in chosen.list:
            parser.error("LIST has a NUL character")
        verdict = doctor.check(chosen.list)
        good = verdict.works
        show = verdict.as_dict() if chosen.json else show_verdict(verdict, style)
    else:
        report = doctor.examine()
        good = report.hook.runs
        show = report.as_dict() if chosen.json else show_report(report, style)
    try:
        print(json.dumps(show, indent=2) if chosen.json else show, flush=True)
    except BrokenPipeError:  # … | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
