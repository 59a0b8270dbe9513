"""What the pictures are drawn with: boxes, arrows and words, in one hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

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


def write(script: str, title: str, width: int, height: int, parts: Iterable[str]) -> None:
    """Write the picture beside its script: the parts, on paper of that size."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        "font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif\">",
        f"<title>{title}</title>",
        f"<defs>{heads()}</defs>",
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        *parts,
        "</svg>",
        "",
    ]
    Path(script).with_suffix(".svg").write_text("\n".join(lines), encoding="utf-8")
