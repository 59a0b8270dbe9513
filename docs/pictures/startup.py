#!/usr/bin/env python3
"""The benchmark as a chart: what each way into the namespaces adds to a start.

    python benchmarks/startup.py --json benchmarks/results/startup.json
    python docs/pictures/startup.py             # writes startup.svg beside this file

Needs matplotlib, which `pip install '.[docs]'` brings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.layout_engine import ConstrainedLayoutEngine

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent.parent / "benchmarks" / "results" / "startup.json"

GROUPS = ("user,net", "user,net,mount", "user,net,mount,uts,ipc,cgroup,time", "user,pid")
OURS, FLOOR, PEER = "#d9822b", "#7fb08a", "#a9b4c0"
INK, FAINT = "#1f2328", "#59636e"


def main() -> int:
    """Write the picture; returns the exit status."""
    arguments = sys.argv[1:]
    target = Path(arguments[0]) if arguments else HERE / "startup.svg"
    draw(json.loads(RESULTS.read_text()), target)
    return 0


def bars(document: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The rows of the first interpreter that were measured, by the list that they are for."""
    rows = [row for row in document["interpreters"][0]["rows"] if "added_ms" in row]
    grouped = [(group, [row for row in rows if row["group"] == group]) for group in GROUPS]
    return [(group, rows) for group, rows in grouped if rows]


def draw(document: dict[str, Any], target: Path) -> None:
    """Draw a document of benchmarks/startup.py.

    Args:
        document: what it wrote as JSON.
        target: the SVG file to write.
    """
    matplotlib.rcParams.update(
        {
            "font.family": ["DejaVu Sans"],
            "font.size": 9.5,
            "svg.hashsalt": "unshare-boot",  # the same ids in every run
            "text.color": INK,
            "xtick.color": FAINT,
            "ytick.color": INK,
        }
    )
    grouped = bars(document)
    interpreter, machine = document["interpreters"][0], document["machine"]
    bare = next(row for row in interpreter["rows"] if "whole_ms" in row and not row["group"])
    heights = [len(rows) + 0.6 for _, rows in grouped]
    figure, panels = pyplot.subplots(
        len(grouped),
        sharex=True,
        squeeze=False,
        figsize=(8.4, 0.31 * sum(heights) + 1.3),
        gridspec_kw={"height_ratios": heights},
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08),
    )
    for axes, (group, rows) in zip(panels[:, 0], grouped):
        for place, row in enumerate(rows):
            added = row["added_ms"]
            name = row["name"]
            own = name.startswith("PY_UNSHARE=")
            colour = OURS if own else FLOOR if name.startswith("static C") else PEER
            spread = [[added["median"] - added["q1"]], [added["q3"] - added["median"]]]
            axes.barh(place, added["median"], height=0.72, color=colour)
            axes.errorbar(added["median"], place + 0.27, xerr=spread, color=FAINT, linewidth=1)
            axes.annotate(
                f"{added['median']:.1f}",
                (0, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontweight="bold" if own else "normal",
            )
        axes.set_yticks(
            range(len(rows)),
            [
                "unshare-boot" if row["name"].startswith("PY_UNSHARE=") else row["name"]
                for row in rows
            ],
        )
        axes.invert_yaxis()
        axes.set_title(group, loc="left", fontsize=9.5, fontweight="bold")
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.spines["left"].set_color(PEER)
        axes.tick_params(length=0)
        axes.xaxis.set_visible(False)
    longest = max(row["added_ms"]["median"] for _, rows in grouped for row in rows)
    panels[-1, 0].set_xlim(0, 1.3 * longest)
    version = interpreter["python"]["version"]
    figure.suptitle(
        "Milliseconds added to the start of Python (less is better)",
        x=0.02,
        ha="left",
        fontsize=12,
        fontweight="bold",
    )
    figure.supxlabel(
        f"Medians of {document['settings']['rounds']} interleaved rounds, lines: quartiles. "
        f"A bare start takes {bare['whole_ms']['median']:.1f} ms. Python {version}, "
        f"Linux {machine['kernel'].partition('-')[0]}, {machine['cpus']} x {machine['cpu']}.\n"
        "unshare alone leaves lo down. Static C is the floor: the same system calls, then execve.",
        x=0.02,
        ha="left",
        fontsize=8,
        color=FAINT,
    )
    figure.savefig(target, facecolor="#ffffff", metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
