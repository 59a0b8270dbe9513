#!/usr/bin/env python3
"""Where our own time goes for one list: modules loaded, files read, system calls made.

For whoever wants to make the hook faster; nothing here is compared with a peer. The times of
strace are far too high, since every call stops the process twice: read them as shares, and the
counts as they are. The times of the first two tables are real.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import re
import shutil
import statistics
import sys
import tempfile
from typing import Any

import lab

#: Start-up files run in the order of their names.
MARKS = ("aaa-before-the-hook", "zzz-after-the-hook")

#: Calls from a program's first line what the start-up file calls, and takes the time.
_INSIDE = """
import os, sys, time
os.environ["PY_UNSHARE"] = sys.argv[1]
begin = time.monotonic_ns()
import unshare_boot
loaded = time.monotonic_ns()
unshare_boot.boot()
end = time.monotonic_ns()
print(loaded - begin, end - begin)
"""

_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| (\s*)(\S+)")
_CALL = re.compile(r"^\d+ +(\w+)\((.*?)(?:\) += (.*?))?(?: <(\d+\.\d+)>)?$")


def checked(argv: list[str], env: dict[str, str]) -> tuple[str, str]:
    """Run a command; return output and standard error; raises BenchmarkError when it fails."""
    status, out, err = lab.capture(argv, env)
    if status:
        raise lab.BenchmarkError(f"status {status}: {err.strip()}")
    return out, err


def inside(python: str, wanted: str, runs: int) -> dict[str, Any]:
    """Return the microseconds that the hook takes inside the process, imports included."""
    pairs = []
    for _ in range(runs):
        out, _ = checked([python, "-c", _INSIDE, wanted], lab.environment_variables())
        pairs.append([int(word) / 1e3 for word in out.split()])
    return {
        "package_us": statistics.median(pair[0] for pair in pairs),
        "all_us": statistics.median(pair[1] for pair in pairs),
        "samples_us": pairs,
    }


def imports(python: str, wanted: str, runs: int) -> list[dict[str, Any]]:
    """Return the modules that only a start with the list loads, in order, with their own time."""
    argv = [python, "-X", "importtime", "-c", "pass"]
    _, text = checked(argv, lab.environment_variables())
    always = {found[4] for found in _IMPORT.finditer(text)}
    times: dict[str, list[int]] = {}
    for _ in range(runs):
        _, text = checked(argv, lab.environment_variables(PY_UNSHARE=wanted))
        for found in _IMPORT.finditer(text):
            if found[4] not in always:
                times.setdefault(found[4], []).append(int(found[1]))
    return [
        {"module": module, "self_us": statistics.median(found)} for module, found in times.items()
    ]


def calls(python: str, wanted: str) -> list[dict[str, Any]]:
    """Return the system calls that our start-up file makes when it is run first, in order."""
    strace = shutil.which("strace")
    if strace is None:
        raise lab.BenchmarkError("needs strace")
    with tempfile.NamedTemporaryFile("r") as log:
        argv = [strace, "-f", "-T", "-o", log.name, python, "-c", "pass"]
        checked(argv, lab.environment_variables(PY_UNSHARE=wanted))
        lines = log.read().splitlines()
    found: list[dict[str, Any]] = []
    begun = False
    for line in lines:
        match = _CALL.match(line)
        if not match:
            continue
        name, arguments, result, seconds = match.groups()
        if f'"/{MARKS[1]}"' in arguments:
            return found
        if begun:
            found.append(
                {
                    "call": name,
                    "arguments": arguments,
                    "result": result or "",
                    "us": float(seconds or 0) * 1e6,
                }
            )
        begun = begun or f'"/{MARKS[0]}"' in arguments
    raise lab.BenchmarkError("strace did not see the marks before and after our start-up file")


def set_marks(python: pathlib.Path) -> None:
    """Add start-up files that run before and after ours, and make one system call each."""
    place = lab.site_packages(python)
    for mark in MARKS:
        place.joinpath(f"{mark}.pth").write_text(f"import os; os.access('/{mark}', os.F_OK)\n")


def show(root: str, result: dict[str, Any]) -> None:
    """Print the tables of one interpreter."""
    figures = result["inside"]
    print(f"\nPython {result['python']['version']}, {result['python']['compiler']}")
    print(f"\n{'inside the process':<60}{'microseconds':>15}")
    print(f"  {'import unshare_boot':<58}{figures['package_us']:>15.0f}")
    print(f"  {'that, and all the rest':<58}{figures['all_us']:>15.0f}")
    print(f"\n{'modules, as -X importtime counts':<60}{'microseconds':>15}")
    for entry in result["imports"]:
        print(f"  {entry['module']:<58}{entry['self_us']:>15.0f}")
    print(f"  {'sum':<58}{sum(entry['self_us'] for entry in result['imports']):>15.0f}")
    made = result["calls"]
    print(f"\n{len(made)} system calls of the start-up file (under strace)")
    tally: dict[str, list[float]] = collections.defaultdict(list)
    for entry in made:
        tally[entry["call"]].append(entry["us"])
    print(f"  {'call':<40}{'times':>17}{'microseconds':>18}")
    for name, times in sorted(tally.items(), key=lambda item: -sum(item[1])):
        print(f"  {name:<40}{len(times):>17}{sum(times):>18.0f}")
    print("\nthe most expensive of them")
    for entry in sorted(made, key=lambda entry: -float(entry["us"]))[:10]:
        text = f"{entry['call']}({entry['arguments']})".replace(root, "VENV")
        print(f"  {entry['us']:>6.0f}  {text[:68]}")
    print("\nfiles looked at, not there")
    for entry in made:
        if "ENOENT" in entry["result"]:
            print(f"  {entry['arguments'].replace(root, 'VENV')[:76]}")


def look(base: str, arguments: argparse.Namespace, workshop: lab.Workshop) -> dict[str, Any]:
    """Look into one interpreter; return its part of the document, and print it."""
    index = len(list(workshop.directory.iterdir()))
    environment = workshop.environment(base, f"{index:02}-ours", arguments.package)
    set_marks(environment)
    python = str(environment)

    def work() -> dict[str, Any]:
        return {
            "inside": inside(python, arguments.list, arguments.runs),
            "imports": imports(python, arguments.list, arguments.runs),
            "calls": calls(python, arguments.list),
        }

    result = {"python": lab.interpreter(base), **lab.as_ordinary_user(work)}
    show(str(environment.parent.parent), result)
    return result


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", nargs="?", default="user,net,mount", help="default %(default)s")
    lab.add_common_arguments(parser)
    parser.add_argument("--runs", type=int, default=21, metavar="N", help="default %(default)s")
    arguments = parser.parse_args()
    document: dict[str, Any] = {
        "benchmark": "where",
        "machine": lab.machine(),
        "settings": {"list": arguments.list, "runs": arguments.runs},
        "interpreters": [],
    }
    try:
        with lab.scratch() as directory:
            workshop = lab.Workshop(directory)
            for base in arguments.python or [sys.executable]:
                document["interpreters"].append(look(base, arguments, workshop))
                sys.stdout.flush()
    except lab.BenchmarkError as error:
        print(f"where.py: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        lab.write_json(arguments.json, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
