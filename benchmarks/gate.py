#!/usr/bin/env python3
"""What the .pth line costs while PY_UNSHARE is unset, in instructions, beside setuptools' own.

Time cannot tell: the line takes some microseconds, a start varies by many times that. valgrind's
callgrind counts every instruction of a start (``python -c pass``), the same number within a few
thousand from run to run. A figure is the median count in an environment with the package, less
the median count in an empty one.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shutil
import statistics
import sys
from typing import Any

import lab

EMPTY, ANY, OURS = "empty", "a .pth file with a comment", "unshare-boot"
PEER, PEER_OFF = "setuptools", "setuptools, switched off"

#: With this set, distutils-precedence.pth looks at it, as ours looks at PY_UNSHARE, and is done.
SWITCH_OFF = {"SETUPTOOLS_USE_DISTUTILS": "stdlib"}


def instructions(python: pathlib.Path, env: dict[str, str]) -> int:
    """Return the number of instructions of one start; raises BenchmarkError when it fails."""
    # The file goes nowhere: only the total is wanted, and that callgrind prints.
    tool = ["--tool=callgrind", "--callgrind-out-file=/dev/null"]
    valgrind = shutil.which("valgrind") or "valgrind"
    status, _, err = lab.capture([valgrind, *tool, str(python), "-c", "pass"], env, 300)
    found = re.search(r"Collected : (\d+)", err)
    if status or not found:
        raise lab.BenchmarkError(f"callgrind: status {status}\n{err}")
    return int(found[1])


def count(base: str, package: str, runs: int, workshop: lab.Workshop) -> dict[str, Any]:
    """Count the instructions of one interpreter's starts; return its part of the document."""
    index = len(list(workshop.directory.iterdir()))
    places = {
        EMPTY: workshop.environment(base, f"{index:02}-bare"),
        ANY: workshop.environment(base, f"{index:02}-none"),
        OURS: workshop.environment(base, f"{index:02}-ours", package),
        PEER: workshop.environment(base, f"{index:02}-peer", "setuptools"),
    }
    places[PEER_OFF] = places[PEER]
    lab.site_packages(places[ANY]).joinpath("comment.pth").write_text("# nothing\n")

    def work() -> dict[str, Any]:
        counts: dict[str, list[int]] = {name: [] for name in places}
        for _ in range(runs):
            for name, python in places.items():
                more = SWITCH_OFF if name == PEER_OFF else {}
                env = lab.environment_variables(PYTHONHASHSEED="0", **more)
                counts[name].append(instructions(python, env))
        middle = {name: statistics.median(found) for name, found in counts.items()}
        added = {name: middle[name] - middle[EMPTY] for name in counts if name != EMPTY}
        return {
            "instructions": counts,
            "added": added,
            "ratio": added[OURS] / added[PEER],
            "met": added[OURS] <= added[PEER],
        }

    return {
        "python": lab.interpreter(base),
        "setuptools": lab.version_of(places[PEER], "setuptools"),
        **lab.as_ordinary_user(work),
    }


def show(result: dict[str, Any]) -> None:
    """Print the table of one interpreter."""
    print(f"\nPython {result['python']['version']}, {result['python']['compiler']}")
    print(f"{'':<40}{'instructions':>14}{'noise':>10}{'added':>14}")
    for name, counts in result["instructions"].items():
        label = name.replace("setuptools", f"setuptools {result['setuptools']}")
        added = f"{result['added'][name]:,.0f}" if name in result["added"] else ""
        noise = max(counts) - min(counts)
        print(f"  {label:<38}{statistics.median(counts):>14,.0f}{noise:>10,}{added:>14}")
    verdict = "met" if result["met"] else "MISSED"
    print(f"  ours, as a multiple of setuptools: {result['ratio']:.2f}; held to 1.00: {verdict}")


def main() -> int:
    """Run the command line; return the exit status: 1 when a start failed, whatever the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    lab.add_common_arguments(parser)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="default %(default)s")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("gate.py: needs valgrind", file=sys.stderr)
        return 1
    document: dict[str, Any] = {
        "benchmark": "gate",
        "machine": lab.machine(),
        "settings": {"runs": arguments.runs},
        "interpreters": [],
    }
    try:
        with lab.scratch() as directory:
            workshop = lab.Workshop(directory)
            for base in arguments.python or [sys.executable]:
                result = count(base, arguments.package, arguments.runs, workshop)
                document["interpreters"].append(result)
                show(result)
                sys.stdout.flush()
    except lab.BenchmarkError as error:
        print(f"gate.py: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        lab.write_json(arguments.json, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
