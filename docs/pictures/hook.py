#!/usr/bin/env python3
"""The start-up of an interpreter as a picture, and where the hook sits: writes hook.svg."""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent

WIDTH, HEIGHT = 800, 560
PAPER, LINE, INK, FAINT = "#ffffff", "#c9d1d9", "#1f2328", "#59636e"
PLAIN, OURS, KERNEL, REFUSED = "#f3f5f7", "#fff1d6", "#dff3e3", "#ffe3e0"
BORDER = {PLAIN: "#8b949e", OURS: "#d08b1e", KERNEL: "#2f9e4c", REFUSED: "#d1453b"}
FONT = "font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif\""
MONO = "font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\""


def main() -> int:
    """Write the picture; returns the exit status."""
    picture = "\n".join([*draw(), ""])
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(picture)
    else:
        (HERE / "hook.svg").write_text(picture)
    return 0


def draw() -> Iterator[str]:
    """The lines of the SVG file."""
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" {FONT} font-size="14">'
    )
    yield "<title>Where in the start-up of Python the hook sits</title>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0L10 5L0 10z" fill="{FAINT}"/></marker></defs>'
    )
    yield f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8" fill="{PAPER}" '
    yield f'stroke="{LINE}"/>'
    yield from words(30, 34, "THE INTERPRETER", FAINT, 12)
    yield from words(420, 34, "UNSHARE-BOOT, ONLY IF PY_UNSHARE IS SET", FAINT, 12)

    left = (
        (50, "execve: python app.py", "one thread, nothing of yours has run", PLAIN),
        (126, "core: types, importlib, sys.path", "built in or frozen", PLAIN),
        (202, "import site", "reads the .pth files of site-packages, by name", PLAIN),
        (278, "unshare_boot.pth", "one line: is PY_UNSHARE in the environment?", OURS),
        (354, "later .pth files", "then sitecustomize and usercustomize", PLAIN),
        (430, "app.py", "your code, inside", KERNEL),
    )
    for y, title, text, fill in left:
        yield from box(30, y, 335, title, text, fill)
    for y in (106, 182, 258, 334, 410):
        yield from arrow(180, y, 180, y + 20)

    right = (
        (50, "boot()", "takes PY_UNSHARE out of the environment", OURS),
        (126, "language: text to plan", "all of it understood, or refused", OURS),
        (202, "steps: plan to kernel", "unshare(2), maps, lo up, mounts; in order", KERNEL),
        (278, "PY_UNSHARE_ACTIVE", "what holds, with inode numbers", OURS),
    )
    for y, title, text, fill in right:
        yield from box(420, y, 345, title, text, fill)
    for y in (106, 182, 258):
        yield from arrow(510, y, 510, y + 20)
    yield from path("M365 298H392V78H418")
    yield from path("M420 318H367")
    yield from words(370, 290, "set", FAINT, 12)
    yield from words(190, 349, "unset, or all holds", FAINT, 12)

    yield from box(
        420, 430, 345, "refused: exit status 125", "item, system call, cause, cure", REFUSED
    )
    yield from path("M680 106V116H782V458H767")
    yield from path("M680 182V192H782", "")
    yield from path("M680 258V268H782", "")
    yield from words(620, 420, "anything fails, anywhere", FAINT, 12)
    yield from words(
        30,
        516,
        "Children find no PY_UNSHARE: they live in the same namespaces and do not nest.",
        INK,
    )
    yield from words(
        30,
        538,
        "An exception in a .pth line would be swallowed by site.py: the hook never raises one.",
        INK,
    )
    yield "</svg>"


def box(x: int, y: int, width: int, title: str, text: str, fill: str) -> Iterator[str]:
    """A box of two lines."""
    yield (
        f'<rect x="{x}" y="{y}" width="{width}" height="56" rx="6" fill="{fill}" '
        f'stroke="{BORDER[fill]}" stroke-width="1.5"/>'
    )
    yield (
        f'<text x="{x + 14}" y="{y + 24}" fill="{INK}" font-weight="600" {MONO}>'
        f"{html.escape(title)}</text>"
    )
    yield from words(x + 14, y + 44, text, FAINT, 13)


def words(x: int, y: int, text: str, colour: str, size: int = 14) -> Iterator[str]:
    """A line of text."""
    yield f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}">{html.escape(text)}</text>'


def arrow(x: int, y: int, to_x: int, to_y: int) -> Iterator[str]:
    """A straight arrow."""
    yield from path(f"M{x} {y}L{to_x} {to_y}")


def path(way: str, tip: str = "tip") -> Iterator[str]:
    """A line along a path; an arrow, unless it has no tip."""
    marker = f' marker-end="url(#{tip})"' if tip else ""
    yield f'<path d="{way}" fill="none" stroke="{FAINT}" stroke-width="1.5"{marker}/>'


if __name__ == "__main__":
    sys.exit(main())
