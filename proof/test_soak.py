"""Soak: thousands of starts, killed at any moment; nothing is left, and nothing grows."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from harness import Python, Session, require_root, require_tool, until
from harness.internet import ECHO_PORT, SERVER, Site
from harness.require import SEARCH_PATH
from harness.session import PROJECT, default, variants
from proof import ground
from proof.conftest import Tally, Watch
from proof.ground import MemoryGroup
from proof.soak_lives import CLIENTS, ECHO, LISTENER, SUCCESSION, VISITOR, Has, pending

HERE = Path(__file__).parent
CLOCKS = HERE / "soak_clocks.py"
DAY = 86400
STARTS_A_THREAD = (
    "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
)


@pytest.fixture
def program(workdir: Path) -> Path:
    """The program, where the ordinary user can read it."""
    return Path(shutil.copy(HERE / "soak_program.py", workdir))


@pytest.fixture(scope="module")
def threaded(session: Session) -> dict[str, str]:
    """Interpreters with a thread that another package starts before the hook has its turn."""
    found = {}
    for variant in (default(session.found)[0], default(session.found)[-1]):
        made = session.fresh(variant, session.make_workdir() / "venv")
        (made.site_packages / "a_thread.pth").write_text(STARTS_A_THREAD)
        found[f"{made.name} with a thread"] = str(made.executable)
    return found


def test_many_starts(
    session: Session,
    site: Site,
    program: Path,
    threaded: dict[str, str],
    workdir: Path,
    tally: Tally,
    full: bool,
) -> None:
    pythons = {each.name: session.python(each) for each in variants(session.found)}
    starts, batches = (2000, 20) if full else (320, 4)
    seed = int(os.environ.get("UNSHARE_BOOT_SOAK_SEED") or random.SystemRandom().randrange(10**6))
    with MemoryGroup.make(f"unshare-boot-{uuid.uuid4()}") as group:
        report = ground.run(
            "soak_starts",
            {
                "pythons": {name: str(each.executable) for name, each in pythons.items()},
                "threaded": threaded,
                "program": str(program),
                "starts": starts,
                "batches": batches,
                "at_a_time": 8,
                "seed": seed,
            },
            session,
            workdir,
            site=site,
            group=group.path if group else None,
            timeout=3600,
        )
    counts = report["counts"]
    tally.case(count=counts["starts"])
    tally.unisolated += report["unisolated"]
    tally.left += report["left"]
    tally.notes["mixed starts, 8 at a time"] = (
        f"{counts['starts']:,}, of which {counts['killed']:,} were killed or interrupted, "
        f"in {report['seconds']:.0f} s; seed {seed}"
    )
    tally.notes["mixed starts, memory after each batch, KiB"] = ", ".join(
        f"{size // 1024:,}" for size in report["memory"]
    )
    tally.left += grown(report["memory"], starts // batches)
    assert not report["wrong"], f"seed {seed}\n" + "\n".join(report["wrong"])


def grown(memory: list[int], starts: int) -> list[str]:
    """Say whether the kernel has more and more memory in use for processes that have ended.

    It counts in steps of 64 pages for each processor. A network namespace takes more than 100 KiB,
    and a process more than 10.

    Args:
        memory: bytes after each batch.
        starts: in a batch.
    """
    third = len(memory) // 3 or 1
    between = (len(memory) - 2 * third + 1) * starts
    allowed = 1024 * between + (os.cpu_count() or 1) * 64 * os.sysconf("SC_PAGE_SIZE")
    more = min(memory[-third:], default=0) - max(memory[:third], default=0)
    return [f"{more} bytes of memory, after {between} starts"] if more > allowed else []


def test_few_namespaces_are_enough(
    session: Session, program: Path, workdir: Path, tally: Tally, full: bool
) -> None:
    require_root()
    require_tool("unshare")
    pythons = {each.name: session.python(each) for each in variants(session.found)}
    report = ground.run(
        "soak_limits",
        {
            "pythons": {name: str(each.executable) for name, each in pythons.items()},
            "program": str(program),
            "limit": 12,
            "starts": 500 if full else 100,
            "chains": 10 if full else 2,
        },
        session,
        workdir,
        timeout=1800,
    )
    counts = report["counts"]
    tally.case(count=counts["starts"] + counts["refused"])
    tally.unisolated += report["unisolated"]
    tally.left += report["left"]
    tally.notes["starts where 12 namespaces of a kind are to be had"] = (
        f"{counts['starts']:,}, and {counts['refused']} refused at the limit; "
        f"{counts.get('started again', 0)} had to wait for the kernel"
    )
    assert not report["wrong"], "\n".join(report["wrong"])


def test_throughput(
    session: Session, newest: Python, workdir: Path, tally: Tally, full: bool
) -> None:
    """No assertion about time: these are figures."""
    for tool in ("unshare", "ip", "bwrap", "cc"):
        require_tool(tool)
    starts = 400 if full else 40
    session.tool(
        [
            sys.executable,
            PROJECT / "benchmarks" / "startup.py",
            *("--throughput", str(starts), "--json", workdir / "throughput.json"),
            *("--python", newest.base, "--package", session.wheel(newest.kind)),
        ],
        PATH=os.pathsep.join([str(Path(sys.executable).parent), SEARCH_PATH]),
    )
    (result,) = json.loads((workdir / "throughput.json").read_text())["interpreters"]
    for name, figures in result["throughput"]["rows"].items():
        tally.case(count=starts)
        tally.notes[f"starts a second, 8 at a time, {name}"] = f"{figures['per_second']:.1f}"
    assert len(result["throughput"]["rows"]) == 6


# A day's worth of clock.


def clocks(python: Python, *, unshare: str | None = None) -> dict[str, float]:
    """What every clock says to a program."""
    done = python.run([CLOCKS, "read"], unshare=unshare)
    found: dict[str, float] = json.loads(done.ok())
    return found


@pytest.mark.parametrize(
    ("listing", "monotonic", "boottime"),
    [
        ("user,time=+1d", DAY, DAY),
        ("user,pid,time=+1d", DAY, DAY),
        ("user,monotonic=+1d", DAY, 0),
        ("user,boottime=+1d", 0, DAY),
        ("user,time=-20.25", -20.25, -20.25),
        ("user,time=+365d", 365 * DAY, 365 * DAY),
    ],
)
def test_a_day_of_clock(
    session: Session, tally: Tally, full: bool, listing: str, monotonic: float, boottime: float
) -> None:
    """Each clock is where it should be, and whatever waits takes its time, and no day more."""
    found = default(session.found)
    for variant in found if full else (found[0], found[-1]):
        python = session.python(variant)
        before = clocks(python)
        inside = clocks(python, unshare=listing)
        after = clocks(python)
        for name, value in inside.items():
            shift = {"realtime": 0.0, "tai": 0.0}.get(name, monotonic)
            if name in ("boottime", "/proc/uptime", "since btime"):
                shift = boottime
            # What /proc tells is cut off, after a hundredth of a second and a second.
            slack = {"/proc/uptime": 0.02, "since btime": 1.1, "monotonic coarse": 0.02}
            low, high = before[name] - slack.get(name, 0), after[name] + slack.get(name, 0)
            tally.case(
                started_unisolated=not low <= value - shift <= high,
                what=f"{python.name} {listing}: {name}: {low} to {high}, not {value - shift}",
            )
        took: dict[str, float] = json.loads(python.run([CLOCKS, "wait"], unshare=listing).ok())
        assert len(took) > 30
        wrong = {name: seconds for name, seconds in took.items() if not 0.048 < seconds < 3600}
        tally.case(count=len(took))
        assert not wrong, f"{python.name} {listing}"


HOUR = 3600 * 10**9
CHAINS = [  # of lists, each with the nanoseconds by which it moves the clocks
    [("user,time=+1h", HOUR), *[("time=+1h", HOUR)] * 23, *[("time=-1h", -HOUR)] * 24],
    [*[("user,time=+1h", HOUR)] * 24, *[("user,time=-0.000000001", -1)] * 8],
]


@pytest.mark.parametrize("chain", CHAINS, ids=["back again", "each in a user namespace"])
def test_a_day_in_starts_within_starts(
    oldest: Python, newest: Python, program: Path, tally: Tally, chain: list[tuple[str, int]]
) -> None:
    for python in (oldest, newest):
        before = [time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)]
        lists = ";".join(listing for listing, _ in chain)
        done = python.run([program, f"lists={lists}"], timeout=300)
        after = [time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)]
        seen = [ast.literal_eval(line) for line in done.ok().splitlines()]
        assert len(seen) == len(chain)
        moved = 0
        for number, ((listing, more), inside) in enumerate(zip(chain, seen), 1):
            moved += more
            right = inside["offsets"] == [moved, moved]
            for low, value, high in zip(before, inside["clocks"], after):
                right = right and low <= value - moved / 1e9 <= high
            what = f"{python.name} {listing}: number {number}: {inside}, not moved by {moved}"
            tally.case(started_unisolated=not right, what=what)


def test_programs_that_tell_the_time(newest: Python, tally: Tally) -> None:
    """uptime(1) is a day ahead, and ps(1) knows all the same when a process was started."""
    uptime, ps = require_tool("uptime"), require_tool("ps")
    code = f"""
import os, subprocess
age = ["{ps}", "-o", "etimes=", str(os.getpid())]
for command in (["{uptime}", "-s"], ["date", "+%F %T"], age):
    print(subprocess.check_output(command, text=True).strip())
"""
    booted, _, _ = newest.run(code).ok().splitlines()
    inside, now, age = newest.run(code, unshare="user,pid,time=+1d").ok().splitlines()
    at = [datetime.fromisoformat(text) for text in (booted, inside, now)]
    tally.case(
        started_unisolated=abs((at[0] - at[1]).total_seconds() - DAY) > 2, what=f"uptime: {at}"
    )
    tally.case(started_unisolated=not 0 <= int(age) < 3600, what=f"ps: {age} seconds")


# What lives long.


def count_growth(
    pids: dict[str, int], what: str, tally: Tally, act: Callable[[int], None], warm: int, times: int
) -> None:
    """Count what processes have grown by, while ``act`` is called for so many times.

    An allocator that still settles (a thread's first arena) has grown once; a leak grows each
    time, so memory that has grown is looked at twice more. Descriptors are those of the beginning.

    Args:
        pids: of the processes, by their names.
        what: is done, for the note.
        warm: how often it is done before, until they have all that they ever have.
    """
    act(warm)
    opened = {name: Has.now(pid).descriptors for name, pid in pids.items()}
    for _ in range(3):
        before = {
            name: replace(Has.now(pid), descriptors=opened[name]) for name, pid in pids.items()
        }
        act(times)
        tally.case(count=times)
        grown = {name: then.growth(f"{name}, {times} {what}") for name, then in before.items()}
        left = [line for lines, _ in grown.values() for line in lines]
        notes = [f"{name} {memory}" for name, (_, memory) in grown.items()]
        if not left:
            break
    tally.left += left
    tally.notes[f"{times:,} {what}"] = ", ".join(notes)


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_supervisor_and_init_do_not_grow(
    request: pytest.FixtureRequest, which: str, tally: Tally, watch: Watch, full: bool
) -> None:
    require_root()  # to look into the supervisor
    python: Python = request.getfixturevalue(which)
    rounds = 5000 if full else 500
    with python.popen(LISTENER, unshare="user,pid", env=watch.env, timeout=1200) as child:
        assert child.stdout and child.stdout.readline() == "ready\n"
        said = child.stdout
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text()
        init, program = map(int, children.split())
        parts = {"supervisor": child.pid, "init": init}

        def signals(times: int) -> None:
            for _ in range(times):
                child.send_signal(signal.SIGUSR1)
                assert int(said.readline()) == signal.SIGUSR1
                os.killpg(child.pid, signal.SIGUSR2)
                assert int(said.readline()) == signal.SIGUSR2
                child.send_signal(signal.SIGHUP)
                assert int(said.readline()) == signal.SIGHUP

        def stops(times: int) -> None:
            for _ in range(times):
                os.kill(program, signal.SIGSTOP)
                assert os.WIFSTOPPED(os.waitpid(child.pid, os.WUNTRACED)[1])
                child.send_signal(signal.SIGCONT)
                assert int(said.readline()) == signal.SIGCONT

        def at_init(times: int) -> None:
            """Which nobody asks for: SIGTERM to PID 1, from within, and real-time signals."""
            for number in range(times):
                os.kill(init, signal.SIGRTMIN + number % 20)
                if number % 500 == 499:
                    until(lambda: not pending(init), "init takes no signals")

        for what, turn, times in (
            ("signals", signals, rounds),
            ("stops", stops, rounds // 5),
            ("signals to init", at_init, 40 * rounds),
        ):
            done = f"{what}, Python {python.name}"
            count_growth(parts, done, tally, turn, times // 2, times)


def test_relay_does_not_grow(
    newest: Python, site: Site, tally: Tally, watch: Watch, full: bool
) -> None:
    clients = 5000 if full else 1000
    with started(newest, site, ECHO, "user,net=pasta,publish=7300:81/udp", watch) as child:
        assert child.stdout and child.stdout.readline() == "ready\n"
        (relay,) = named("unshare-udp", watch)

        def talk(count: int) -> None:
            command = site.enter(sys.executable, "-c", CLIENTS, "7300", str(count))
            subprocess.run(command, check=True)

        # It remembers less than 400.
        count_growth({"relay": relay}, "clients of a relay", tally, talk, 400, clients)


def test_watcher_does_not_grow(
    newest: Python, site: Site, tally: Tally, watch: Watch, full: bool
) -> None:
    """It waits for the program, and then for any other process in that network, in turn."""
    times = 1000 if full else 150
    with started(newest, site, SUCCESSION, "user,net=slirp4netns", watch) as child:
        assert child.stdin and child.stdout
        asks, says = child.stdin, child.stdout
        pids = [int(says.readline())]
        (watcher,) = named("unshare-net", watch)

        def hand_over(count: int) -> None:
            for _ in range(count):
                asks.write(".")
                asks.flush()
                pids.append(int(says.readline()))
                until(lambda: waits_for(watcher, pids[-1]), "the watcher does not wait")

        what = "processes that a watcher waits for"
        count_growth({"watcher": watcher}, what, tally, hand_over, times // 10, times)


def test_gate_does_not_grow(
    newest: Python, site: Site, tally: Tally, watch: Watch, full: bool
) -> None:
    times = 30_000 if full else 2000
    listing = f"user,net=gate,allow={SERVER}:{ECHO_PORT}"
    arguments = (SERVER, str(ECHO_PORT))
    with started(newest, site, VISITOR, listing, watch, *arguments) as child:
        assert child.stdin and child.stdout
        asks, says = child.stdin, child.stdout

        def visit(count: int) -> None:
            asks.write(f"{count}\n")
            asks.flush()
            assert says.readline() == "done\n"

        visit(1)  # it has its name by then
        (gate,) = named("unshare-gate", watch)
        # It remembers 10,000 attempts, less up to 1,000 as they come; and a visit is three.
        count_growth({"gate": gate}, "visits of a gate", tally, visit, 5000, times)


@contextlib.contextmanager
def started(
    python: Python, site: Site, code: str, unshare: str, watch: Watch, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """Start a program in the site."""
    user = python.user
    argv = site.enter_as(user.uid, user.gid, *python.command(code), *arguments)
    env = {"HOME": str(user.home), "PY_UNSHARE": unshare, **watch.env}
    with python.root.popen(argv, env=env, cwd=user.home, timeout=600) as child:
        yield child


def named(name: str, watch: Watch) -> list[int]:
    """The processes of a test that have a name."""
    found = []
    for pid in watch.processes():
        with contextlib.suppress(FileNotFoundError):  # it has ended
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
    return found


def waits_for(watcher: int, pid: int) -> bool:
    """Whether a process has a pidfd of another (proc_pid_fdinfo(5))."""
    found = []
    for path in Path(f"/proc/{watcher}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            found += path.read_text().splitlines()
    return f"Pid:\t{pid}" in found
