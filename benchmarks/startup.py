#!/usr/bin/env python3
"""The time that each way into the namespaces adds to a bare start of the interpreter.

Every round starts every row once, in an order shuffled anew; a figure is the median of the
differences to the bare start of the same round. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import gc
import json
import os
import pathlib
import random
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import lab
import memory
import rows
import throughput

WARM_UP = 3
SEED = 20261123
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Start:
    """A row made concrete."""

    row: rows.Row
    argv: list[str]
    env: dict[str, str]


class NotAvailableError(Exception):
    """A row does not start, or does not do what it is measured for; the text is the reason."""


def probe(row: rows.Row, python: pathlib.Path) -> dict[str, Any]:
    """Start a row once with a program that looks around; return what it saw.

    Raises NotAvailableError when it does not start or is not in the namespaces it is measured for.
    """
    tool = row.prefix[0] if row.prefix else str(python)
    path = shutil.which(tool)
    if path is None:
        raise NotAvailableError(f"no {os.path.basename(tool)} on this machine")
    argv = row.command(python, rows.PROBE)
    status, out, err = lab.capture([path, *argv[1:]], row.environment())
    if status:
        raise NotAvailableError(f"status {status}: {reason_in(err, python)}")
    seen: dict[str, Any] = json.loads(out)
    for name in row.enters:
        file = rows.NS_FILE.get(name, name)
        if seen["namespaces"].get(file) == os.readlink(f"/proc/self/ns/{file}"):
            raise NotAvailableError(f"starts, but not in a new {name} namespace")
    if row.loopback is not None and seen["loopback"] is not row.loopback:
        raise NotAvailableError(f"starts, but lo is {'up' if seen['loopback'] else 'down'}")
    if row.outbound and seen["interfaces"] < 2:
        raise NotAvailableError("starts, but with no interface besides lo")
    return seen


def reason_in(text: str, python: pathlib.Path) -> str:
    """Return the line that says why, without the path of the scratch directory.

    Our refusals begin with it, and go on to the cure; most other tools end with it.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    ours = [line for line in lines if line.startswith("unshare-boot:")]
    return (ours or lines[::-1])[0].replace(str(python), "python")


def prepare(
    wanted: Sequence[rows.Row], plain: pathlib.Path, ours: pathlib.Path
) -> tuple[list[Start], dict[str, str], int]:
    """Probe every row; return those to measure, the reasons of the others, and a count.

    The count is that of standard library modules without a compiled file: they make every start
    slower by the time of a compilation, the same for all rows.
    """
    starts, refused, uncompiled = [], {}, 0
    for row in wanted:
        python = ours if row.installed else plain
        try:
            seen = probe(row, python)
        except NotAvailableError as reason:
            if row.required:
                raise lab.BenchmarkError(f"{row.name}: {reason}") from None
            refused[row.name] = str(reason)
            continue
        if row.installed or not row.prefix:
            uncompiled = max(uncompiled, seen["uncompiled"])
        argv = row.command(python, "pass")
        argv[0] = shutil.which(argv[0]) or argv[0]
        starts.append(Start(row, argv, row.environment()))
    return starts, refused, uncompiled


def measure(starts: Sequence[Start], rounds: int) -> dict[str, dict[str, list[int]]]:
    """Start everything once a round; return nanoseconds of wall clock and of CPU time per row.

    Raises BenchmarkError with its standard error when a start fails.
    """
    samples: dict[str, dict[str, list[int]]] = {
        start.row.name: {"wall_ns": [], "cpu_ns": []} for start in starts
    }
    order = random.Random(SEED)
    queue = list(starts)
    with lab.spawner() as spawner:
        gc.collect()
        gc.disable()
        try:
            for turn in range(WARM_UP + rounds):
                order.shuffle(queue)
                for start in queue:
                    begin = time.monotonic_ns()
                    child = spawner.start(start.argv, start.env)
                    _, status, usage = os.wait4(child, 0)
                    end = time.monotonic_ns()
                    if status:
                        raise spawner.failure(start.row.name, status)
                    if turn >= WARM_UP:
                        samples[start.row.name]["wall_ns"].append(end - begin)
                        cpu = round((usage.ru_utime + usage.ru_stime) * 1e9)
                        samples[start.row.name]["cpu_ns"].append(cpu)
        finally:
            gc.enable()
    return samples


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return first quartile, median and third quartile."""
    if len(values) < 2:
        return {"q1": values[0], "median": values[0], "q3": values[0]}
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"q1": low, "median": middle, "q3": high}


def ratio(ours: Sequence[float], peer: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Return the ratio of two medians, and the 95 % interval of a bootstrap over the rounds.

    There is no interval where the peer's cost drowns in the noise.
    """
    pick = random.Random(SEED)
    count = len(ours)
    found = []
    for _ in range(RESAMPLES):
        rounds = [pick.randrange(count) for _ in range(count)]
        below = statistics.median(peer[index] for index in rounds)
        if below > 0:
            found.append(statistics.median(ours[index] for index in rounds) / below)
    found.sort()
    value = statistics.median(ours) / statistics.median(peer)
    if len(found) < RESAMPLES:
        return value, None
    return value, (found[RESAMPLES // 40], found[-RESAMPLES // 40])


def added_ms(samples: dict[str, dict[str, list[int]]], clock: str) -> dict[str, list[float]]:
    """Return per row the milliseconds on top of the bare start of the same round."""
    bare = samples[rows.BARE][clock]
    return {
        name: [(sample - base) / 1e6 for sample, base in zip(taken[clock], bare)]
        for name, taken in samples.items()
        if name != rows.BARE
    }


def measure_all(starts: Sequence[Start], rounds: int) -> list[dict[str, dict[str, list[int]]]]:
    """Measure what has a way out after all else, in rounds of its own; return both samples.

    Its network namespace takes the kernel tens of milliseconds to tear down, in the background, and
    whoever comes next waits for that.
    """
    ways_out = [start for start in starts if start.row.outbound]
    alone = [start for start in starts if not start.row.outbound]
    found = [measure(alone, rounds)]
    if ways_out:
        bare = [start for start in alone if start.row.name == rows.BARE]
        found.append(measure(bare + ways_out, rounds))
    return found


def evaluate(
    parts: Sequence[dict[str, dict[str, list[int]]]],
    refused: dict[str, str],
    wanted: Sequence[rows.Row],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Turn samples into the two tables: what each row adds in ms, and the bars."""
    added, cpu, samples = {}, {}, {}
    for part in reversed(parts):
        added.update(added_ms(part, "wall_ns"))
        cpu.update(added_ms(part, "cpu_ns"))
        samples.update(part)
    table = []
    for row in wanted:
        entry: dict[str, Any] = {"name": row.name, "group": row.group, "command": row.shown()}
        if row.name in refused:
            entry["not_available"] = refused[row.name]
        else:
            taken = samples[row.name]
            entry["whole_ms"] = quartiles([sample / 1e6 for sample in taken["wall_ns"]])
            entry["whole_cpu_ms"] = quartiles([sample / 1e6 for sample in taken["cpu_ns"]])
            if row.name in added:
                entry["added_ms"] = quartiles(added[row.name])
                entry["added_cpu_ms"] = quartiles(cpu[row.name])
            entry.update(samples[row.name])
            if row.outbound:
                entry.update({f"bare_{key}": ns for key, ns in parts[-1][rows.BARE].items()})
        table.append(entry)
    bars = []
    for bar in rows.bars():
        if not {bar.row, bar.peer} <= {row.name for row in wanted}:
            continue
        line: dict[str, Any] = dataclasses.asdict(bar)
        if bar.row in added and bar.peer in added:
            reached, interval = ratio(added[bar.row], added[bar.peer])
            line.update(ratio=reached, ratio_95=interval)
            if bar.at_most is not None:
                line["met"] = reached <= bar.at_most
        bars.append(line)
    return table, bars


def noise(samples: dict[str, dict[str, list[int]]]) -> dict[str, Any]:
    """Return what two rows differ in that are the same: the bare start, and the bare start.

    Returns:
        The ratio of their medians, and the milliseconds between them, each with its 95 % interval.
    """
    bare, again = (samples[name]["wall_ns"] for name in (rows.BARE, rows.AGAIN))
    reached, interval = ratio(again, bare)
    added = added_ms(samples, "wall_ns")[rows.AGAIN]
    pick = random.Random(SEED)
    medians = sorted(statistics.median(pick.choices(added, k=len(added))) for _ in range(RESAMPLES))
    return {
        "ratio": reached,
        "ratio_95": interval,
        "added_ms": statistics.median(added),
        "added_ms_95": (medians[RESAMPLES // 40], medians[-RESAMPLES // 40]),
    }


def show(result: dict[str, Any]) -> None:
    """Print the tables of one interpreter, 80 columns wide: ratios first, and then milliseconds."""
    facts = result["python"]
    print(f"\nPython {facts['version']}, {facts['compiler']}, _socket {facts['socket']}")
    if result["uncompiled_modules"]:
        print(
            f"  note: {result['uncompiled_modules']} library modules have no compiled file, "
            "and are compiled\n  anew on every start: figures are too high"
        )
    show_noise(result["noise"])
    show_ratios(result)
    show_times(result["rows"])
    if result.get("throughput"):
        throughput.show(result["throughput"])
    if result.get("memory"):
        memory.show(result["memory"])


def show_noise(found: dict[str, Any]) -> None:
    """Print by how much the machine alone lets two figures differ."""
    low, high = found["added_ms_95"]
    print(
        f"\nnoise: a bare start takes {found['ratio']:.3f} of a bare start, "
        f"{found['added_ms']:+.2f} ms (95 %: {low:+.2f} to {high:+.2f})"
    )


def show_ratios(result: dict[str, Any]) -> None:
    """Print what is held to a bar: added time, and where they were measured throughput, memory."""
    print(f"\n{'as a multiple of the peer':<46}{'ratio':>6} {'95 %':>12} {'held to':>13}")
    row = ""
    for bar in result["bars"]:
        if bar["row"] != row:
            row = bar["row"]
            print(f"time that {row} adds")
        held = "" if bar["aim"] is None else f"towards {bar['aim']:.2f}"
        if bar["at_most"] is not None and "ratio" in bar:
            held = f"{bar['at_most']:.2f} {word(bar['met'])}"
        show_ratio(f"of {bar['peer']}", bar, held)
    starts = result.get("throughput", {})
    if "ratio" in starts:
        print(f"starts a second of {throughput.OURS}, {starts['at_a_time']} at a time")
        show_ratio(f"of {throughput.PEER}", starts, f"from 1.00 {word(starts['ratio'] >= 1)}")
    kept = result.get("memory", {})
    if "limit_kib" in kept:
        print(f"private memory with {memory.ROW}")
        for role in ("supervisor", "init"):
            share = kept[role]["exec"]["private_kib"] / kept["limit_kib"]
            show_ratio(
                f"{role}, of {kept['limit_kib']} KiB", {"ratio": share}, f"1.00 {word(share < 1)}"
            )


def show_ratio(label: str, found: dict[str, Any], held: str) -> None:
    """Print one line of the table of ratios."""
    if "ratio" not in found:
        print(f"  {label:<44}{'not available':>33}")
        return
    spread = ""
    if "ratio_95" in found:
        spread = "{:.2f}-{:.2f}".format(*found["ratio_95"]) if found["ratio_95"] else "unclear"
    print(f"  {label:<44}{found['ratio']:>6.2f} {spread:>12} {held:>13}")


def word(met: bool) -> str:
    """Say whether a bar is met."""
    return "met" if met else "MISSED"


def show_times(table: Sequence[Any]) -> None:
    """Print the milliseconds that each row adds."""
    title = "milliseconds added to a bare start"
    print(f"\n{title:<48}{'median':>7}{'quartiles':>16}{'CPU':>8}")
    group = ""
    for entry in table:
        if entry["group"] != group:
            group = entry["group"]
            print(f"{group}")
        label = f"  {entry['name']}"
        if "not_available" in entry:
            print(f"{label:<48}{'not available':>31}\n      {clip(entry['not_available'], 72)}")
            continue
        figures, cpu = entry.get("added_ms"), entry.get("added_cpu_ms")
        if figures is None:
            label += " (the whole of it)"
            figures, cpu = entry["whole_ms"], entry["whole_cpu_ms"]
        spread = f"{figures['q1']:.2f} to {figures['q3']:.2f}"
        # Below the bare start: a process in between did not wait, so nobody counted the program.
        time_used = f"{cpu['median']:.2f}" if cpu["median"] > -1 else "?"
        print(f"{label:<48}{figures['median']:>7.2f}{spread:>16}{time_used:>8}")


def clip(text: str, width: int) -> str:
    """Return text, cut to width columns."""
    return text if len(text) <= width else text[: width - 3] + "..."


def benchmark(
    base: str, arguments: argparse.Namespace, workshop: lab.Workshop, everything: Sequence[rows.Row]
) -> dict[str, Any]:
    """Measure one interpreter; return its part of the JSON document."""
    index = len(list(workshop.directory.iterdir()))
    plain = workshop.environment(base, f"{index:02}-bare")
    ours = workshop.environment(base, f"{index:02}-ours", arguments.package)
    globs = throughput.ROWS if arguments.throughput else arguments.rows
    wanted = [
        row
        for row in everything
        if row.name in (rows.BARE, rows.AGAIN)
        or not globs
        or any(fnmatch.fnmatchcase(row.name, glob) for glob in globs)
    ]

    def work() -> dict[str, Any]:
        starts, refused, uncompiled = prepare(wanted, plain, ours)
        if arguments.throughput:
            return {"throughput": measured_throughput(starts, arguments.throughput)}
        parts = measure_all(starts, arguments.rounds)
        table, bars = evaluate(parts, refused, wanted)
        result: dict[str, Any] = {
            "uncompiled_modules": uncompiled,
            "noise": noise(parts[0]),
            "bars": bars,
            "rows": table,
        }
        if not arguments.rows:
            result["throughput"] = measured_throughput(starts)
        return result

    measured = lab.as_ordinary_user(work, real_time=arguments.real_time)
    if not arguments.rows and not arguments.throughput:
        row = next(entry for entry in measured["rows"] if entry["name"] == memory.ROW)
        measured["memory"] = memory.measure(plain, ours, row.get("not_available"))
    return {"python": lab.interpreter(base), **measured}


def measured_throughput(starts: Sequence[Start], count: int = throughput.STARTS) -> dict[str, Any]:
    """Return starts a second, and the ratio's 95 % interval by a bootstrap over the blocks."""
    result = throughput.measure(_commands(starts), count)
    if "ratio" in result:
        ours, peer = (result["rows"][name]["blocks"] for name in (throughput.OURS, throughput.PEER))
        result["ratio_95"] = ratio(ours, peer)[1]
    return result


def _commands(starts: Sequence[Start]) -> dict[str, throughput.Command]:
    """Return those whose throughput is measured."""
    return {
        start.row.name: (start.argv, start.env)
        for start in starts
        if start.row.name in throughput.ROWS
    }


def main() -> int:
    """Run the command line; return the exit status: 1 when a start failed, whatever the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    lab.add_common_arguments(parser)
    parser.add_argument("--rounds", type=int, default=60, metavar="N", help="default %(default)s")
    parser.add_argument(
        "--rows",
        action="append",
        metavar="GLOB",
        help="only the rows whose name matches, repeatable; leaves out throughput and memory",
    )
    parser.add_argument(
        "--throughput",
        type=int,
        nargs="?",
        const=throughput.STARTS,
        metavar="N",
        help="only so many starts, 8 at a time, of the rows that the throughput is measured of",
    )
    parser.add_argument(
        "--real-time",
        action="store_true",
        help="before all else that runs on the machine (SCHED_RR, sched(7)); for root",
    )
    parser.add_argument("--list-rows", action="store_true", help="print the names of the rows")
    arguments = parser.parse_args()
    if arguments.list_rows:
        print("\n".join(row.name for row in rows.rows("peer")))
        return 0
    if arguments.real_time and os.geteuid():
        parser.error("--real-time: for root")
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    if arguments.throughput is not None and arguments.throughput < throughput.BLOCKS:
        parser.error(f"--throughput: at least {throughput.BLOCKS}")
    document: dict[str, Any] = {
        "benchmark": "startup",
        "machine": lab.machine(),
        "settings": {
            "rounds": arguments.rounds,
            "warm_up": WARM_UP,
            "seed": SEED,
            "real_time": arguments.real_time,
        },
        "interpreters": [],
    }
    facts = document["machine"]
    print(f"{facts['cpus']} x {facts['cpu']}, Linux {facts['kernel']}, {facts['date']}")
    if not arguments.throughput:
        print(f"{arguments.rounds} rounds after {WARM_UP} of warm-up")
    print(f"load before the start {facts['load']:.2f}")
    try:
        with lab.scratch() as directory:
            workshop = lab.Workshop(directory)
            everything = rows.rows(rows.compile_floor(directory))
            for base in arguments.python or [sys.executable]:
                result = benchmark(base, arguments, workshop, everything)
                document["interpreters"].append(result)
                if arguments.throughput:
                    throughput.show(result["throughput"])
                else:
                    show(result)
                sys.stdout.flush()
    except lab.BenchmarkError as error:
        print(f"startup.py: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        lab.write_json(arguments.json, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
