"""time, monotonic and boottime: all ways to read a clock agree, in the program and its children."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness import Python, require_tool

DAY = 86400
OFFSETS = "/proc/self/timens_offsets"
READ = """
import sys, time
def clocks():
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    return [time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), uptime,
            time.clock_gettime(time.CLOCK_MONOTONIC_RAW), time.time()]
print(*clocks())
if sys.argv[1:] != ["child"]:
    import subprocess, threading, os
    sys.stdout.flush()
    subprocess.check_call([sys.executable, "-c", sys.orig_argv[2] if hasattr(sys, "orig_argv")
                           else os.environ["CODE"], "child"])
    thread = threading.Thread(target=lambda: print(*clocks()))
    thread.start()
    thread.join()
"""


def here() -> list[float]:
    """The same clocks, outside."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
    raw = time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
    return [time.monotonic(), boottime, uptime, raw, time.time()]


@pytest.mark.parametrize(
    ("listing", "monotonic", "boottime"),
    [
        ("time", 0, 0),
        ("time=+30d", 30 * DAY, 30 * DAY),
        ("monotonic=+2d", 2 * DAY, 0),
        ("boottime=+3w", 0, 21 * DAY),
        ("monotonic=+1.5h,boottime=+90", 5400, 90),
        ("time,monotonic=-20,boottime=+1d", -20, DAY),
        ("boottime=-20", 0, -20),
        ("time=-20.5", -20.5, -20.5),
        ("pid,time=+30d", 30 * DAY, 30 * DAY),
    ],
)
def test_all_agree(either: Python, listing: str, monotonic: float, boottime: float) -> None:
    before = here()
    done = either.run(READ, unshare=f"user,{listing}", env={"CODE": READ})
    after = here()
    lines = done.ok().splitlines()
    assert len(lines) == 3  # the program, its child, its thread
    offsets = [monotonic, boottime, boottime, monotonic, 0]
    for line in lines:
        for low, inside, high, offset in zip(before, map(float, line.split()), after, offsets):
            # /proc/uptime is cut off after hundredths, in and out.
            assert low - 0.02 <= inside - offset <= high + 0.02, (listing, line)


@pytest.mark.parametrize("item", ["time", "monotonic", "boottime"])
def test_a_clock_does_not_start_below_zero(either: Python, item: str) -> None:
    uptime = int(here()[1])
    done = either.run("print('user code')", unshare=f"user,{item}=-{uptime + 1000}")
    assert (done.status, done.stdout) == (125, "")
    assert "time: " in done.stderr and "timens_offsets" in done.stderr
    done = either.run("print('user code')", unshare=f"user,{item}=-{uptime - 10}")
    assert done.ok() == "user code\n"


def test_seen_from_outside(newest: Python) -> None:
    with newest.hold("user,monotonic=+5,boottime=-7.25") as pid:
        lines = Path(f"/proc/{pid}/timens_offsets").read_text().splitlines()
        assert [line.split() for line in lines] == [
            ["monotonic", "5", "0"],
            ["boottime", "-8", "750000000"],
        ]


def test_sleeping_takes_as_long_as_ever(newest: Python) -> None:
    code = (
        "import time; a = time.monotonic(); time.sleep(.2); print(.2 <= time.monotonic() - a < 20)"
    )
    assert newest.run(code, unshare="user,time=+365d").ok() == "True\n"


def test_as_root(newest: Python) -> None:
    code = "import time; print(time.monotonic() > 30 * 86400)"
    assert newest.run(code, unshare="time=+30d", as_root=True).ok() == "True\n"


def test_one_start_in_another_adds_to_it(either: Python) -> None:
    """The kernel's offsets count from the machine's clocks, whatever time namespace is around."""
    code = """
import os, subprocess, sys, time
print(time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), flush=True)
if sys.argv[1:]:
    command = [sys.executable, "-c", os.environ["CODE"], *sys.argv[2:]]
    subprocess.check_call(command, env={**os.environ, "PY_UNSHARE": sys.argv[1]})
"""
    inner = ["user,time=+1h", "time=-0.75", "user,monotonic=+2d", "time", "user,boottime=-30m"]
    before = here()
    done = either.run(["-c", code, *inner], unshare="user,time=+1d", env={"CODE": code})
    after = here()
    sums = [
        (DAY, DAY),
        (DAY + 3600, DAY + 3600),
        (DAY + 3599.25, DAY + 3599.25),
        (3 * DAY + 3599.25, DAY + 3599.25),
        (3 * DAY + 3599.25, DAY + 3599.25),
        (3 * DAY + 3599.25, DAY + 1799.25),
    ]
    lines = done.ok().splitlines()
    assert len(lines) == len(sums)
    for line, sum_ in zip(lines, sums):
        for low, inside, high, offset in zip(before, map(float, line.split()), after, sum_):
            assert low <= inside - offset <= high, (sum_, line)


def test_unshare_counts_from_the_machine(newest: Python) -> None:
    command = [require_tool("unshare"), "-T", "--monotonic", "3600", "cat", OFFSETS]
    code = f"import subprocess; subprocess.check_call({command})"
    lines = newest.run(code, unshare="user,time=+1d").ok().splitlines()
    assert [line.split()[1] for line in lines] == ["3600", f"{DAY}"]
