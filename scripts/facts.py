"""What manual pages and completions are made of: the rows of the language, the command line.

Nothing is said here that is not said in `unshare_boot.language`, in `unshare_boot.__main__`, or in
the README's table of variables.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple

from unshare_boot.__main__ import make_parser
from unshare_boot.language import ITEMS
from unshare_boot.namespaces import NAMESPACES

ROOT = Path(__file__).resolve().parent.parent

# Which forms stand for files, as the tables write them, and whether only a directory will do.
PATHS = {"DIR": True, "SRC": False, "FILE": False, "PATH": False}


class Item(NamedTuple):
    """An item of the language.

    Attributes:
        name: as it is written.
        meaning: of its first form, in plain text.
        forms: each form with its meaning, with backticks as in the tables.
        words: values that are words.
        alone: whether it can be without a value.
        path: whether a value is, or begins with, a path.
        directory: whether that has to be a directory.
    """

    name: str
    meaning: str
    forms: tuple[tuple[str, str], ...]
    words: tuple[str, ...]
    alone: bool
    path: bool
    directory: bool


class Command(NamedTuple):
    """A subcommand, or what the command does without one (name is empty)."""

    name: str
    help: str
    options: tuple[tuple[str, str], ...]
    operands: tuple[tuple[str, str], ...]


def items() -> list[Item]:
    """The items in the order of the table."""
    return [_item(name, row.forms) for name, row in ITEMS.items()]


def _item(name: str, forms: tuple[tuple[str, str], ...]) -> Item:
    values = [value for cell, _ in forms for value in re.findall(r"`([^`]*)`", cell)]
    first = {re.split(r"[:/\[]", value)[0] for value in values}
    return Item(
        name,
        plain(forms[0][1]),
        forms,
        tuple(value for value in values if re.fullmatch(r"[a-z0-9]+", value)),
        any(not cell or cell.startswith("none") for cell, _ in forms),
        name in NAMESPACES or bool(first & set(PATHS)),
        any(PATHS.get(each, False) for each in first),
    )


def plain(text: str) -> str:
    """Text without the marks of Markdown."""
    return text.replace("`", "")


def commands() -> list[Command]:
    """The command without a subcommand, and each of these."""
    parser = make_parser()
    found = [_command("", "", parser)]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            found += [_command(name, helps[name], each) for name, each in action.choices.items()]
    return found


def _command(name: str, text: str, parser: argparse.ArgumentParser) -> Command:
    options, operands = [], []
    for action in parser._actions:
        if action.option_strings:
            options += [(each, action.help or "") for each in action.option_strings]
        elif not isinstance(action, argparse._SubParsersAction):
            several = action.nargs == "*"
            shown = f"[{action.metavar} ...]" if several else str(action.metavar)
            operands.append((shown, action.help or ""))
    return Command(name, text, tuple(options), tuple(operands))


def variables() -> list[tuple[str, str]]:
    """The other variables and their meaning, with backticks: the README's table."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| variable | meaning |\n|---|---|\n")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE)
