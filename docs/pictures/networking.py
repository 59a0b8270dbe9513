#!/usr/bin/env python3
"""Draw networking.svg, who talks to whom with net=pasta or net=slirp4netns, beside this file."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 880, 520
INK, SOFT, PAPER = "#1f2933", "#5b6875", "#ffffff"
HOST, INSIDE, BOX = "#f3f5f7", "#e6f0fa", "#ffffff"
TRAFFIC, CARE, CLOSED = "#1d5fa8", "#2d6a4f", "#b3261e"


def text(x: float, y: float, words: str, size: int = 14, **attributes: str) -> str:
    """One line of text; y is its base line."""
    given = {"font-size": str(size), "fill": INK, **attributes}
    more = " ".join(f'{name.replace("_", "-")}="{value}"' for name, value in given.items())
    return f'<text x="{x}" y="{y}" {more}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, name: str, *lines: str) -> str:
    """A process, or somebody else who talks: a name and what is to be known of it."""
    return "\n".join(
        [
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{BOX}" '
            f'stroke="{SOFT}"/>',
            text(x + 14, y + 25, name, 16, font_weight="bold"),
            *(text(x + 14, y + 47 + 18 * row, line, 13) for row, line in enumerate(lines)),
        ]
    )


def area(x: float, y: float, width: float, height: float, colour: str, name: str) -> str:
    """A network namespace."""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="12" fill="{colour}" '
        f'stroke="{SOFT}" stroke-dasharray="6 4"/>\n'
        + text(x + 16, y + 26, name, 13, fill=SOFT, font_weight="bold")
    )


def arrow(points: str, colour: str, both: bool = False, dashed: bool = False) -> str:
    """A line with a head at its end, or at both."""
    head = {TRAFFIC: "traffic", CARE: "care", CLOSED: "closed"}[colour]
    more = f' marker-start="url(#{head})"' if both else ""
    more += ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" '
        f'marker-end="url(#{head})"{more}/>'
    )


def heads() -> str:
    """The arrow heads, one of each colour."""
    return "\n".join(
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        f'markerHeight="8" orient="auto-start-reverse">'
        f'<path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for name, colour in (("traffic", TRAFFIC), ("care", CARE), ("closed", CLOSED))
    )


def picture() -> str:
    """The whole file."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" '
        "font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif\">",
        "<title>Who talks to whom with net=pasta or net=slirp4netns</title>",
        f"<defs>{heads()}</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
        area(200, 20, 360, 480, HOST, "THE HOST'S NETWORK NAMESPACE"),
        area(590, 20, 270, 480, INSIDE, "THE PROGRAM'S"),
        box(20, 130, 150, 66, "the internet", "and the LAN"),
        box(20, 262, 150, 66, "a client", "of a published port"),
        box(
            220,
            130,
            300,
            84,
            "pasta or slirp4netns",
            "ordinary sockets of an ordinary user,",
            "the other end of the tap device",
        ),
        box(220, 258, 300, 66, "the relay", "published UDP ports; sockets on both sides"),
        box(
            220,
            372,
            300,
            100,
            "the watcher",
            "starts the two, and ends them with the",
            "last process inside (PR_SET_PDEATHSIG,",
            "should it be killed itself)",
        ),
        box(620, 130, 210, 84, "the program", "and its children:", "eth0 or tap0, lo, own ports"),
        box(620, 258, 210, 66, "its loopback", "127.0.0.1, ::1"),
        box(220, 60, 300, 44, "the host's 127.0.0.1, ::1"),
        arrow("172,163 216,163", TRAFFIC, both=True),
        arrow("522,172 616,172", TRAFFIC, both=True),
        text(529, 160, "tap", 12, fill=TRAFFIC),
        arrow("172,285 184,285 184,200 216,200", TRAFFIC),
        text(178, 248, "TCP", 12, fill=TRAFFIC, text_anchor="end"),
        arrow("172,302 216,302", TRAFFIC),
        text(176, 320, "UDP", 12, fill=TRAFFIC),
        arrow("522,290 616,290", TRAFFIC, both=True),
        arrow("725,256 725,218", TRAFFIC, both=True),
        arrow("370,370 370,328", CARE),
        arrow("522,400 545,400 545,200 524,200", CARE),
        arrow("522,430 725,430 725,328", CARE, dashed=True),
        text(612, 448, "waits for its processes (pidfd)", 12, fill=CARE),
        arrow("725,126 725,82 540,82", CLOSED, dashed=True),
        text(534, 88, "✕", 18, fill=CLOSED, text_anchor="middle", font_weight="bold"),
        text(612, 74, "no way", 12, fill=CLOSED),
        "</svg>",
        "",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(picture(), encoding="utf-8")
