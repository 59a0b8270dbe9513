"""What the doctor found out, as data, and how it is shown to people."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import textwrap
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from . import __version__
from .errors import named, shown
from .refusal.machine import Machine
from .refusal.message import UNKNOWN_CAUSE
from .refusal.pages import more

if TYPE_CHECKING:
    from typing import TextIO

ITEM_COLUMNS = 17
ROW_INDENT = 24  # columns before what is said of an item
LABEL_INDENT = 8


@dataclass(frozen=True)
class Hook:
    """The file that makes site.py run us.

    Attributes:
        files: where it is installed; none where it is not.
        runs: whether a child of this interpreter, with the same options, ran it just now.
        why: why not.
        before: what else runs code at start-up before it.
    """

    files: list[str]
    runs: bool
    why: str
    before: list[str]


@dataclass(frozen=True)
class Verdict:
    """What came of trying one list.

    Attributes:
        item: what it was tried for.
        list: the list.
        works: whether everything in it holds.
        what: what failed, or what a program will run into where it works; as a rule empty then, as
            are the next three.
        why: the cause.
        cure: what to do about it.
        cause: the anchor of the heading, see refusal.pages; empty where there is none.
    """

    item: str
    list: str
    works: bool
    what: str = ""
    why: str = ""
    cure: str = ""
    cause: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Report:
    """All that the doctor knows."""

    hook: Hook
    items: list[Verdict]
    holds: list[str]
    uid: int | None
    gid: int | None
    version: str = __version__
    python: str = platform.python_version()
    executable: str = sys.executable
    kernel: str = field(default_factory=lambda: Machine().release())

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


class Style(NamedTuple):
    """How to write: colours or not, and how many columns there are."""

    colour: bool
    width: int

    @classmethod
    def of(cls, stream: TextIO) -> Style:
        """Return what suits a stream: colours on a terminal only, and not where NO_COLOR is set."""
        terminal = stream.isatty()
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        width = shutil.get_terminal_size().columns if terminal else 80
        return cls(terminal and not plain, max(60, min(width, 100)))

    def paint(self, text: str, number: str) -> str:
        """Return text in a colour of ECMA-48."""
        return f"\033[{number}m{text}\033[0m" if self.colour else text

    def answer(self, works: bool) -> str:
        """Return yes or no, in three columns."""
        return self.paint("yes", "32") if works else self.paint("no ", "31")

    def block(self, text: str, indent: int) -> str:
        """Return text wrapped, each line but the first indented; nothing long is broken."""
        return ("\n" + " " * indent).join(
            textwrap.wrap(text, self.width - indent, break_long_words=False, break_on_hyphens=False)
        )


def show_report(report: Report, style: Style) -> str:
    """Return the report for people to read."""
    lines = [
        f"unshare-boot {report.version}, Python {report.python}, Linux {report.kernel}, "
        f"uid {os.geteuid()}",
        "",
        style.paint("The hook", "1"),
        *_hook_lines(report.hook, style),
        "",
        style.paint("What works here", "1"),
        *(f"  {style.answer(each.works)}  {_row(each, style)}" for each in report.items),
        "",
        style.paint("This process", "1"),
        f"       holds here: {', '.join(report.holds) or 'nothing'}",
    ]
    if report.uid is not None and (report.uid, report.gid) != (os.getuid(), os.getgid()):
        lines.append(
            f"       uid {os.getuid()} is {report.uid} outside, gid {os.getgid()} is {report.gid}"
        )
    return "\n".join(lines)


def _hook_lines(hook: Hook, style: Style) -> list[str]:
    said = (
        "PY_UNSHARE takes effect in this interpreter"
        if hook.runs
        else f"PY_UNSHARE does nothing in this interpreter: {hook.why}"
    )
    lines = [f"  {style.answer(hook.runs)}  {style.block(said, 7)}"]
    lines += [f"       {file}" for file in hook.files]
    if hook.before:
        lines.append("       what runs code at start-up before it:")
        lines += [f"         {file}" for file in hook.before]
    return lines


def _row(verdict: Verdict, style: Style) -> str:
    start = f"{verdict.item:<{ITEM_COLUMNS}}"
    if verdict.works:
        same = verdict.list == verdict.item
        return (start + ("" if same else f"PY_UNSHARE={verdict.list}")).rstrip()
    unknown = verdict.cause == UNKNOWN_CAUSE
    words = verdict.what if unknown else verdict.why or verdict.what
    name, equals, value = verdict.item.partition("=")
    item = named(name, value if equals else None) + ": "  # the row begins with it anyhow
    parts = [words[len(item) :] if words.startswith(item) else words]
    if verdict.cure and not unknown:
        parts.append(f"cure: {verdict.cure}")
    indented = "\n" + " " * ROW_INDENT
    return start + indented.join(style.block(part, ROW_INDENT) for part in parts)


def show_verdict(verdict: Verdict, style: Style) -> str:
    """Return the answer of ``check`` for people to read: the lines are those of a refusal."""
    lines = [f"{style.answer(verdict.works)}  PY_UNSHARE={shown(verdict.list)}"]
    for label, words in (
        ("but: " if verdict.works else "what:", verdict.what),
        ("why: ", verdict.why),
        ("cure:", verdict.cure),
        ("more:", more(verdict.cause)),
    ):
        if words:
            lines.append(f"  {label} {style.block(words, LABEL_INDENT)}")
    return "\n".join(lines)


WHOLE = True
