"""A refusal taken at its word: what its cure proposes, as options of an engine and as a list."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple


class Way(NamedTuple):
    """One way out.

    Attributes:
        options: for the engine, to add; what follows ``without`` is the start of one to leave out.
        unshare: the list.
    """

    options: tuple[str, ...]
    unshare: str


# What an engine's cures say, as a pattern, and the options that this is, as templates.
Taken = Sequence[tuple[str, tuple[str, ...]]]
Edit = tuple[tuple[str, ...], str, str]  # options, an item to add, an item to leave out


def ways(cure: str, unshare: str, taken: Taken = ()) -> list[Way]:
    """Return the ways out that a cure proposes, each of them all that it takes.

    Args:
        cure: as printed: ``A, or B; and C (or D)``.
        unshare: the list that was refused.
        taken: what the cures of this engine say, other than Docker's and Podman's.
    """
    steps = [_alternatives(step, taken) for step in cure.split("; and ")]
    found = []
    for edits in product(*steps):
        items = unshare.split(",")
        options: list[str] = []
        for more, add, leave_out in edits:
            options += more
            items = [each for each in items if leave_out not in (each, each.partition("=")[0])]
            if leave_out.endswith("="):
                items = [
                    item.partition("=")[0] if item.startswith(leave_out) else item for item in items
                ]
            name = add.partition("=")[0]
            at = next((i for i, item in enumerate(items) if item.partition("=")[0] == name), None)
            if at is not None:
                items[at] = add
            elif add:
                items.insert(0 if add == "user" else len(items), add)
        found.append(Way(tuple(options), ",".join(items)))
    return found


def _alternatives(step: str, taken: Taken) -> list[Edit]:
    found: list[Edit] = []
    for pattern, options in taken:
        for said in re.finditer(pattern, step):
            found.append((tuple(said.expand(each) for each in options), "", ""))
    for options in re.findall(r"(?:docker|podman) run (-.*?) \.\.\.", step):
        found.append((tuple(shlex.split(options)), "", ""))
    for option in re.findall(r"(?:docker|podman) run without (-[^;,]*)", step):
        found.append((("without", option.strip()), "", ""))
    for option in re.findall(r"run the container with (--cap-add=\w+)", step):
        found.append(((option,), "", ""))
    for name in re.findall(r"\badd (\S+) to the list", step):
        found.append(((), name, ""))
    for name in re.findall(r"\b(?:leave (?=\S+ out of the list)|a list without )(\S+)", step):
        found.append(((), "", name))
    if "have no IPv6 addresses in the list" in step:
        found.append(((), "", "addr"))
    for name in re.findall(r"\b(\w+) without a name", step):
        found.append(((), "", f"{name}="))
    for item in re.findall(r"(?:^|, or |: )(net(?:=\w+)?)(?=,| |$)", step):
        found.append(((), item, ""))
    return found
