"""Real programs: an environment with all of them, and one that runs, as it is seen from outside.

Each is started with PY_UNSHARE and without; what comes of the two has to be the same, but for what
docs/programs.md tells of.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from harness import Python, Session, namespace_inode, until
from harness.outer import FILES as EVERY_FILE
from harness.processes import Argument
from harness.session import Variant, default
from proof.conftest import Tally, Watch

REQUIREMENTS = [
    "celery",
    "flask",
    "gunicorn",
    "ipykernel",
    "ipython",
    "jupyter_client",
    "pip",
    "pytest",
    "pytest-xdist",
    "uvicorn",
    "uvloop",
    "watchfiles",
]

DEADLINE = 90.0  # seconds, for what is a matter of one or two on a machine that is not busy


KINDS = ("user", "net", "mnt", "pid", "uts", "ipc")  # that WHERE tells of
FILES = {name: file for name, file in EVERY_FILE.items() if file in KINDS}


def kinds_of(unshare: str) -> list[str]:
    """The namespaces that a list of nothing else makes, as files in /proc/PID/ns."""
    return [FILES[item.partition("=")[0]] for item in unshare.split(",") if item]


# What a program prints of itself, or answers.
WHERE = (
    f"import os\nKINDS = {KINDS}\n"
    + """
def where():
    kinds = KINDS
    found = {kind: os.stat("/proc/self/ns/" + kind).st_ino for kind in kinds}
    return {"pid": os.getpid(), "namespaces": found, "left": os.environ.get("PY_UNSHARE")}
"""
)

# Asks a server, over and over, until so many of its processes have answered that are not known.
CLIENT = """
import concurrent.futures, http.client, json, sys, time, urllib.request
address, wanted, known, seconds = json.loads(sys.argv[1])
end = time.monotonic() + seconds

def ask(_):
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return json.load(answer)
    except (OSError, ValueError, http.client.HTTPException) as error:  # it is restarting
        return str(error)

with concurrent.futures.ThreadPoolExecutor(2 * wanted) as pool:
    found = {}
    while time.monotonic() < end:
        answers = list(pool.map(ask, range(2 * wanted)))
        told = [answer for answer in answers if isinstance(answer, dict)]
        found.update((each["pid"], each) for each in told if each["pid"] not in known)
        if len(found) >= wanted:
            break
        time.sleep(0.05)
if len(found) < wanted:
    raise SystemExit(f"{len(found)} of {wanted} have answered; at last: {answers}")
print(json.dumps(list(found.values())))
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """For the test modules to import: of some things only the first in the size for CI."""
    every = {"which": ["newest", "oldest"], "pool": ["solo", "prefork"]}
    for name in every:
        if name in metafunc.fixturenames:
            full = metafunc.config.getoption("--full")
            metafunc.parametrize(name, every[name] if full else every[name][:1])


def equipped(
    session: Session,
    which: str,
    name: str = "programs",
    requirements: Sequence[str] = REQUIREMENTS,
) -> Python:
    """The newest interpreter, or the oldest, for which everything can be had as a wheel.

    Args:
        session: where environments are made.
        which: "newest" or "oldest".
        name: of the environments.
        requirements: what is installed there.
    """
    every = default(session.found)
    reasons = []
    for variant in reversed(every) if which == "newest" else every:
        directory = session.directory / f"{name}-{variant.name}"
        lacking = session.directory / f"{name}-{variant.name}.lacking"
        install = partial(_install, session, variant, directory, lacking, requirements)
        session.once(directory.name, install)
        if not lacking.exists():
            return dataclasses.replace(session.python(variant), venv=directory)
        reasons.append(lacking.read_text())
    reason = f"no interpreter here has wheels for all of {requirements}"
    pytest.fail("\n".join([reason, *reasons]))


def _install(
    session: Session,
    variant: Variant,
    directory: Path,
    lacking: Path,
    requirements: Sequence[str],
) -> None:
    """Make an environment with the requirements, or leave a file that says why there is none."""
    python = session.fresh(variant, directory)
    options: list[Argument] = ["--only-binary", ":all:", "--python", python.executable]
    try:
        session.uv("pip", "install", *options, *requirements)
    except RuntimeError as error:
        lacking.write_text(str(error))


def _two(path: Path) -> list[str]:
    found = path.read_text().split()
    return found if len(found) == 2 else []


def free_port() -> int:
    """A port of the machine's own loopback that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclasses.dataclass
class Running:
    """A program that runs; what it writes goes to a file.

    Attributes:
        python: what it was started with.
        unshare: its list; None if it is not isolated.
        child: what was started.
        port: where it may listen.
        log: the file.
        watch: knows its processes.
        tally: takes what is not where it should be.
    """

    python: Python
    unshare: str | None
    child: Popen[str]
    port: int
    log: Path
    watch: Watch
    tally: Tally

    @property
    def kinds(self) -> list[str]:
        """The namespaces that it was to have for itself, as files in /proc/PID/ns."""
        return kinds_of(self.unshare or "")

    def processes(self) -> dict[int, dict[str, int]]:
        """Each of its processes with its namespaces, which are counted as cases, from outside."""
        found = {}
        own = {kind: namespace_inode("self", kind) for kind in self.kinds}
        for pid in self.watch.processes():
            try:
                inside = {kind: namespace_inode(pid, kind) for kind in self.kinds}
            except OSError:  # it has ended
                continue
            found[pid] = inside
            for kind in self.kinds:
                supervisor = kind == "pid" and pid == self.child.pid
                if inside[kind] == own[kind] and not supervisor:
                    what = f"{self.child.args!r}: process {pid} is not in a {kind} of its own"
                    self.tally.unisolated.append(what)
        self.tally.case(count=len(found))
        return found

    def together(self) -> None:
        """Assert that all of its processes are in the same namespaces."""
        for kind in self.kinds:
            places = {
                inside[kind]
                for pid, inside in self.processes().items()
                if not (kind == "pid" and pid == self.child.pid)
            }
            assert len(places) == 1, (kind, places)

    def has_entered(self) -> bool:
        """Whether what was started is in its namespaces; not so that of the next fork, `pid`."""
        kinds = [kind for kind in self.kinds if kind != "pid"]
        pid = self.program()
        return all(namespace_inode(pid, kind) != namespace_inode("self", kind) for kind in kinds)

    def program(self) -> int:
        """The process id of the program; of a supervisor the namespaces are root's to look at."""
        if "pid" not in self.kinds:
            return self.child.pid
        path = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children")
        _, program = until(lambda: _two(path), "init and the program", self.log)
        return int(program)

    def inside(self, argv: Sequence[Argument], **options: Any) -> str:
        """Run the same interpreter where the program's network is; returns what it prints."""
        where = None
        if self.unshare:
            until(self.has_entered, "its namespaces", self.log)
            pid = self.program()
            where = f"user=/proc/{pid}/ns/user,net=/proc/{pid}/ns/net"
        options.setdefault("timeout", 2 * DEADLINE)
        return self.python.run(argv, unshare=where, **options).ok()

    def ask(self, wanted: int = 1, known: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Have answers of so many of its processes, all at http://127.0.0.1:port/.

        Args:
            wanted: how many that are new.
            known: process ids, as the program has them, of those that do not count.
        """
        address = f"http://127.0.0.1:{self.port}/"
        argument = json.dumps([address, wanted, list(known), DEADLINE])
        try:
            answers: list[dict[str, Any]] = json.loads(self.inside(["-c", CLIENT, argument]))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text(errors='replace')}") from None
        for answer in answers:
            assert answer["left"] is None
            self._compare(answer["namespaces"], answer)
        self.together()
        return answers

    def _compare(self, namespaces: dict[str, int], who: object) -> None:
        for kind in self.kinds:
            self.tally.case(
                started_unisolated=namespaces[kind] == namespace_inode("self", kind),
                what=f"{self.child.args!r}: {kind} of {who}",
            )

    def end(self, number: int = signal.SIGTERM, to_group: bool = False) -> int:
        """Send a signal, and return the status, once none of its processes is left."""
        if to_group:
            os.killpg(self.child.pid, number)
        else:
            self.child.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Return the status, once none of its processes is left."""
        try:
            status = self.child.wait(DEADLINE)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.log.read_text(errors='replace')}") from None
        until(lambda: not self.watch.processes(), "the end of all of its processes", self.log)
        return status


@contextlib.contextmanager
def running(
    python: Python,
    argv: Sequence[Argument],
    unshare: str | None,
    watch: Watch,
    tally: Tally,
    **options: Any,
) -> Iterator[Running]:
    """Start a Python program, `{port}` in its arguments replaced; kill what is left at the end.

    Args:
        python: the interpreter.
        argv: its arguments.
        unshare: the value of PY_UNSHARE; unset if None.
        watch: its environment is the program's.
        tally: takes the cases.
        options: cwd, which has to be given, and others as for User.popen().
    """
    port = 8000 if unshare else free_port()
    log = Path(options["cwd"]) / "log"
    argv = [str(each).replace("{port}", str(port)) for each in argv]
    env = {**watch.env, **options.pop("env", {})}
    options.setdefault("timeout", 4 * DEADLINE)
    options.setdefault("stdin", None)
    with (
        open(log, "w") as file,
        python.popen(argv, unshare=unshare, env=env, stdout=file, stderr=file, **options) as child,
    ):
        try:
            yield Running(python, unshare, child, port, log, watch, tally)
        finally:
            for pid in watch.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
