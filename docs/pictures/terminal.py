#!/usr/bin/env python3
"""A session in a terminal as a picture: runs the commands, draws what they print.

    python docs/pictures/terminal.py            # writes terminal.svg beside this file
    python docs/pictures/terminal.py -          # to standard output

As an ordinary user, with a Python that has unshare-boot installed. The programs are those of
examples/, in a copy; git is needed.
"""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "examples"

SESSION = (
    "PY_UNSHARE=user,net python examples/port80.py",
    "PY_UNSHARE=user,net python examples/offline.py",
    """PY_UNSHARE=user,overlay=. python -c 'import os; os.system("rm -r *; ls -l")'""",
    "ls",
    "PY_UNSHARE=net python examples/port80.py",
)

WIDTH_OF_A_LETTER, HEIGHT_OF_A_LINE, SIZE = 8.4, 20, 14  # pixels
LEFT, TOP, BOTTOM = 20, 58, 14
COLUMNS = 88
BACKGROUND, BAR, TEXT = "#1b1f24", "#2b3138", "#d8dee6"
PROMPT, VARIABLE, COMMAND, REFUSAL = "#7ee787", "#ffb86b", "#ffffff", "#ff9b94"


def main() -> int:
    """Write the picture; returns the exit status."""
    if os.getuid() == 0:
        print("terminal.py: it is an ordinary user's session, not root's", file=sys.stderr)
        return 1
    picture = draw(perform(SESSION))
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(picture)
    else:
        (HERE / "terminal.svg").write_text(picture)
    return 0


def perform(session: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each command with the lines that it prints; in a directory with a copy of the examples."""
    performed = []
    with tempfile.TemporaryDirectory() as directory:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(EXAMPLES, Path(directory, "examples"), ignore=ignored)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        for command in session:
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=directory,
                env={"PATH": path, "HOME": directory, "LANG": "C.UTF-8"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            performed.append((command, done.stdout.splitlines()))
    return performed


def draw(session: list[tuple[str, list[str]]]) -> str:
    """The picture of commands and their output."""
    rows: list[list[tuple[str, str]]] = []
    for command, output in session:
        if rows:
            rows.append([])
        variable, blank, rest = command.partition(" ")
        if not variable.startswith("PY_UNSHARE="):
            variable, blank, rest = "", "", command
        rows.append([("$ ", PROMPT), (variable + blank, VARIABLE), (rest, COMMAND)])
        colour = REFUSAL if any("refused" in line for line in output) else TEXT
        rows += [[(line, colour)] for line in output]
    longest = max(sum(len(text) for text, _ in row) for row in rows)
    if longest > COLUMNS:
        raise ValueError(f"a line of {longest} columns is too long for {COLUMNS}")
    width = round(2 * LEFT + COLUMNS * WIDTH_OF_A_LETTER)
    height = TOP + HEIGHT_OF_A_LINE * len(rows) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">',
        "<title>A session in a terminal; its commands are in the README</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>',
        f'<path d="M0 36V8a8 8 0 0 1 8-8H{width - 8}a8 8 0 0 1 8 8v28z" fill="{BAR}"/>',
    ]
    parts += [
        f'<circle cx="{22 + 20 * number}" cy="18" r="6" fill="{colour}"/>'
        for number, colour in enumerate(("#ff6058", "#ffbd2e", "#28c941"))
    ]
    parts.append(
        f"<g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', "
        f'monospace" font-size="{SIZE}" xml:space="preserve">'
    )
    for number, row in enumerate(rows):
        column, y = 0, TOP + HEIGHT_OF_A_LINE * number + 5
        for text, colour in row:
            if text.strip():
                parts.append(letters(text, column, y, colour))
            column += len(text)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def letters(text: str, column: int, y: int, colour: str) -> str:
    """A text of a fixed width, whatever the font of the reader."""
    indent = len(text) - len(text.lstrip())
    text = text.strip()
    x = LEFT + WIDTH_OF_A_LETTER * (column + indent)
    length = WIDTH_OF_A_LETTER * len(text)
    return (
        f'<text x="{x:.1f}" y="{y}" fill="{colour}" textLength="{length:.1f}" '
        f'lengthAdjust="spacingAndGlyphs">{html.escape(text, quote=False)}</text>'
    )


if __name__ == "__main__":
    sys.exit(main())
