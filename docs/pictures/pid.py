#!/usr/bin/env python3
"""Draw pid.svg, the three processes of `pid`, beside this file."""

from __future__ import annotations

from pathlib import Path

from drawing import PAPER, SOFT, text

WIDTH, HEIGHT = 860, 470
OUTSIDE, INSIDE, BOX = "#f3f5f7", "#e6f0fa", "#ffffff"
SIGNAL, CARE = "#b3541e", "#2d6a4f"


def area(x: float, y: float, width: float, height: float, colour: str, dashes: str = "") -> str:
    """A rectangle with round corners."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="10" fill="{colour}" '
        f'stroke="{SOFT}"{dashed}/>'
    )


def process(x: float, y: float, name: str, ids: str, *duties: str) -> str:
    """A process: its name, its numbers, and what it does."""
    lines = [
        area(x, y, 210, 56 + 19 * len(duties), BOX),
        text(x + 14, y + 25, name, 17, font_weight="bold"),
        text(x + 196, y + 25, ids, 12, text_anchor="end", fill=SOFT),
    ]
    lines += [text(x + 14, y + 49 + 19 * row, duty, 13) for row, duty in enumerate(duties)]
    return "\n".join(lines)


def arrow(points: str, colour: str, label: str, x: float, y: float, anchor: str = "start") -> str:
    """A line with a head and a word beside it."""
    head = "signal" if colour == SIGNAL else "care"
    line = (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" '
        f'marker-end="url(#{head})"/>'
    )
    return "\n".join([line, text(x, y, label, 12, fill=colour, text_anchor=anchor)])


def head(name: str, colour: str) -> str:
    """The head of an arrow."""
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
    )


def picture() -> str:
    """The whole picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" role="img">',
        "<title>Supervisor, init and program</title>",
        f"<defs>{head('signal', SIGNAL)}{head('care', CARE)}</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
        area(150, 20, 690, 430, OUTSIDE),
        text(166, 44, "one process group: the job that shell and terminal know", 13, fill=SOFT),
        area(470, 62, 352, 368, INSIDE, "6 4"),
        text(486, 86, "PID namespace, with its own /proc", 13, fill=SOFT),
        text(16, 136, "shell,", 14),
        text(16, 154, "systemd,", 14),
        text(16, 172, "timeout(1)", 14),
        text(20, 388, "terminal", 14),
        process(
            178,
            98,
            "supervisor",
            "pid 4711",
            "what was started",
            "passes signals on",
            "stops and goes on with",
            "ends the way it ends",
        ),
        process(
            590,
            98,
            "init",
            "pid 1 (4712)",
            "reaps orphans",
            "when it ends, all end",
            "witness: which signals",
            "went to the whole group",
        ),
        process(590, 300, "program", "pid 2 (4713)", "your code, and all", "that it starts"),
        arrow("130,150 176,150", SIGNAL, "kill", 153, 142),
        arrow("388,190 430,190 430,330 588,330", SIGNAL, "what init did not get", 440, 322),
        arrow("388,130 588,130", CARE, "kill -9 at the end", 478, 122),
        arrow("388,160 588,160", CARE, "did you get it, too?", 474, 178),
        arrow("590,372 300,372 300,232", CARE, "the supervisor is its parent", 316, 392),
        arrow("82,384 136,384 136,410 700,410 700,396", SIGNAL, "", 0, 0),
        arrow("136,410 230,410 230,232", SIGNAL, "Ctrl-C, Ctrl-Z, window size: to all", 244, 426),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(picture(), encoding="utf-8")
