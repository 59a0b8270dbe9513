"""Something is missing, broken or used up: no program runs half-isolated for it.

tests/test_all_or_nothing.py has more of this for the plainest lists; this is for all of them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness import Python, Session, require_root, require_tool
from harness.faults.starts import STARTS, Judge, Setting, Start, prepared
from harness.processes import Argument
from proof.conftest import Tally, Watch

# Where a driver makes a network each time, one case takes half a second.
MANY = [start for start in STARTS if start.place != "site"]

RIGHT = ("refused", "stopped", "isolated", "outside")  # the last where it may be, and is told

FEWEST = 5  # descriptors with which every Python can open the .pth file
UNHEARD = ("WRONG: started un-isolated", "WRONG: started un-isolated, in silence")

LOADED = "import os, sys; print(*[name for name in sys.modules if name[:13] == 'unshare_boot.'])"


class Case:
    """A start that is set up, and the count of what came of it."""

    def __init__(self, setting: Setting, tally: Tally) -> None:
        self.setting = setting
        self.judge = Judge(setting)
        self._tally = tally

    def expect(
        self,
        what: str,
        *before: Argument,
        only: Sequence[str] = RIGHT,
        setting: Setting | None = None,
        output: Path | None = None,
    ) -> str:
        """Start it by a program, and look at what comes of it.

        Args:
            what: to say if that is wrong.
            before: the program that runs it.
            only: the outcomes that may be.
            setting: instead of the one that was set up.
            output: a file that the program writes to instead of standard output.
        """
        try:
            done = (setting or self.setting).run(before=before)
        except AssertionError as error:  # it takes too long
            outcome = f"WRONG: {str(error)[:200]}"
        else:
            if output:
                done = replace(done, stdout=output.read_text())
            outcome = self.judge.outcome(done, streams=output is not None)
        wrong = outcome not in only
        name = f"{self.setting.python.name} {self.setting.start.name}, {what}: {outcome}"
        self._tally.case(started_unisolated=wrong, what=name)
        return outcome


@pytest.fixture
def case(
    either: Python, start: Start, session: Session, watch: Watch, tally: Tally
) -> Iterator[Case]:
    with prepared(start, either, session, watch.env) as setting:
        yield Case(setting, tally)


every_start = pytest.mark.parametrize("start", MANY, ids=lambda start: start.name)


@every_start
def test_little_of_something(case: Case, full: bool) -> None:
    """Limits: of descriptors, processes, memory, stack and files, setrlimit(2)."""
    prlimit = require_tool("prlimit")
    _few_descriptors(case, prlimit, full)
    # From what hardly a Python needs to what is enough for it and for us.
    limits = [f"--as={size << 20}" for size in range(8, 200, 4 if full else 48)]
    limits += [f"--data={size << 20}" for size in range(1, 16, 1 if full else 8)]
    limits += [f"--nproc={number}" for number in ((0, 1, 2, 3) if full else (0,))]
    limits += [f"--stack={size << 10}" for size in ((64, 128, 512) if full else (128,))]
    limits += ["--fsize=0", "--sigpending=0", "--memlock=0", "--msgqueue=0", "--core=0"]
    for limit in limits:
        case.expect(limit, prlimit, limit)


def _few_descriptors(case: Case, prlimit: str, full: bool) -> None:
    """With four descriptors the build of a Python decides, and its start: docs/security.md.

    Seen un-isolated were CPython 3.9.2, 3.9.18, 3.11.7 and 3.12.1, whose site.py could not open the
    .pth file then and says nothing; not 3.10.13, Debian's 3.11.2 and 3.13. With fewer none starts
    at all, since ld.so(8) needs one more than the three streams. From five on all behave.
    """
    for number in sorted({*range(6), *range(6, 24, 1 if full else 6)}):
        limit = f"--nofile={number}"
        case.expect(limit, prlimit, limit, only=(*RIGHT, *(UNHEARD if number < FEWEST else ())))


@every_start
def test_closed_streams(case: Case, session: Session) -> None:
    """Any of the three standard streams is closed; whatever is opened takes its number."""
    output = session.make_workdir() / "facts"
    setting = replace(case.setting, env={**case.setting.env, "FACTS": str(output)})
    for number in range(8):
        closed = "".join(f" {stream}>&-" for stream in range(3) if number >> stream & 1)
        output.write_text("")
        output.chmod(0o666)
        before = ["sh", "-c", f'exec "$@"{closed}', "sh"]
        wanted = ("isolated",)
        case.expect(f"closed{closed}", *before, only=wanted, setting=setting, output=output)


# Of the others root's `pid` mounts a /proc of its own.
NEEDING_PROC = [
    start for start in MANY if not (start.place or start.may_be_outside or start.name == "root-pid")
]


@pytest.mark.parametrize("start", NEEDING_PROC, ids=lambda start: start.name)
def test_no_proc(
    either: Python, start: Start, session: Session, watch: Watch, tally: Tally
) -> None:
    """Without /proc nobody can see what holds, so nothing is started."""
    with prepared(start, either, session, watch.env) as setting:
        script = 'mount -t tmpfs none /proc && exec "$@"'
        done = setting.run(before=["unshare", "-Urm", "sh", "-c", script, "sh"])
        what = f"{either.name} {start.name} without /proc: {done}"
        tally.case(started_unisolated=done.status != 125 or bool(done.stdout), what=what)


@pytest.fixture
def own(case: Case, workdir: Path) -> Setting:
    """The start in an environment of its own, which may be broken."""
    return replace(case.setting, python=in_its_own(case.setting.python, workdir))


def in_its_own(python: Python, workdir: Path) -> Python:
    """An interpreter in a copy of its environment."""
    directory = workdir / "venv"
    shutil.copytree(python.venv, directory, symlinks=True)
    return replace(python, venv=directory)


@every_start
def test_broken_files(case: Case, own: Setting, full: bool) -> None:
    """Every module that the start loads: missing, empty, cut short, and with corrupt bytecode.

    In the size for CI one in three, in turns with the kinds of start.
    """
    package = own.python.site_packages / "unshare_boot"
    loaded = replace(own, arguments=("-c", LOADED)) if own.unshare else own
    names = ["__init__"]
    if own.unshare:
        names += [name.partition(".")[2] for name in loaded.run().ok().split()]
    # With `pid` and after starting over the program's modules are not all that were loaded.
    names += {"thread": ["start.starting_over"]}.get(own.start.place, [])
    assert "namespaces" in names or not own.unshare
    if not full:
        names = names[STARTS.index(own.start) % 3 :: 3] or names
    for name in names:
        source = file_of(package, name)
        whole = source.read_bytes()
        lines = whole.splitlines(keepends=True)
        cuts = range(0, len(lines), max(1, len(lines) // (12 if full else 2)))
        contents = [None, *(b"".join(lines[:cut]) for cut in cuts)]
        for content in contents:
            with without_bytecode(source):
                source.unlink()
                if content is not None:
                    source.write_bytes(content)
                what = f"{name} {'missing' if content is None else f'cut to {len(content)} bytes'}"
                wanted: tuple[str, ...] = ("refused", "stopped")
                if own.start.name == "called":  # and needs no last line of __init__
                    wanted += ("isolated",) if name == "__init__" else ("outside",)
                case.expect(what, only=wanted, setting=own)
                source.unlink(missing_ok=True)
                source.write_bytes(whole)
        (cached,) = source.parent.glob(f"__pycache__/{source.stem}.*.pyc")
        compiled = cached.read_bytes()
        middle = [len(compiled) // 2]
        places = range(0, len(compiled), max(1, len(compiled) // 12)) if full else middle
        for place in places:
            cached.write_bytes(compiled[:place])
            case.expect(f"{cached.name} cut to {place} bytes", setting=own)
            cached.write_bytes(compiled[:16] + bytes([place & 0x7F]) + compiled[17:])
            case.expect(f"{cached.name} with another byte", setting=own)
        cached.write_bytes(compiled)


def file_of(package: Path, name: str) -> Path:
    """The file of a module of ours by its name, such as ``language`` or ``language.readers``."""
    path = package.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@contextlib.contextmanager
def without_bytecode(source: Path) -> Iterator[None]:
    """Take the bytecode of a module away for a while, or Python would look at that alone."""
    kept = {path: path.read_bytes() for path in source.parent.glob(f"__pycache__/{source.stem}.*")}
    for path in kept:
        path.unlink()
    try:
        yield
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


FULL = """
    mount -t tmpfs -o size=8k,mode=1777 none {cache} && mount --bind {cache} {tmp} || exit 1
    dd if=/dev/zero of={cache}/full bs=1k 2>/dev/null
    exec "$@"
"""
READ_ONLY = """
    mount --bind {venv} {venv} && mount -o remount,bind,ro {venv} || exit 1
    exec "$@"
"""


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.name)
def test_full_and_read_only_file_systems(
    either: Python, start: Start, session: Session, watch: Watch, tally: Tally, workdir: Path
) -> None:
    """Nothing can be written where bytecode and temporary files go."""
    require_root()
    with prepared(start, either, session, watch.env) as setting:
        python = in_its_own(setting.python, workdir)
        cache = python.site_packages / "unshare_boot" / "__pycache__"
        shutil.rmtree(cache)
        cache.mkdir()
        for script in (FULL, READ_ONLY):
            script = script.format(cache=cache, tmp=setting.workdir / "tmp", venv=python.venv)
            wrapper = [*setting.wrapper, "unshare", "--mount", "sh", "-c", script, "sh"]
            changed = replace(setting, python=python, wrapper=wrapper)
            Judge(changed)  # which starts it, and asserts that it is isolated
            tally.case()
