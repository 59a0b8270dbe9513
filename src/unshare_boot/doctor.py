"""Whether the hook runs, and which items of the language work on this machine, by trying them.

Not loaded at interpreter start: this is an ordinary program and imports what it likes.
"""

from __future__ import annotations

import os
import platform
import shutil
import site
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .errors import UnshareError
from .inside import active, original_gid, original_uid
from .items.id_ranges import FIRST_SUBORDINATE
from .items.kept import BELOW, UPPER
from .items.set_aside import ids_set_aside
from .language import ITEMS, alternatives, parse
from .language.readers import escaped
from .namespaces import OFF, OUTBOUND, REFUSED
from .owners import unchangeable
from .refusal.machine import Machine
from .report import Hook, Report, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

START_UNDERSTOOD = (3, 15)  # PEP 829
PTH_IGNORED = (3, 18)

PATIENCE = 20  # seconds for one try; pasta and slirp4netns need the longest
UNRUN = 9  # what a child of `check` ends with if PY_UNSHARE is still there when its code runs

# Enters a list without the hook and without site.py, so that only the kernel's answer is shown.
BARE = (
    "import sys; sys.path.append(sys.argv[1]); import unshare_boot; unshare_boot.boot(); "
    "print('inside', flush=True); len(sys.argv) > 2 and sys.stdin.read()"
)
THROUGH_HOOK = f"import os, sys; sys.exit({UNRUN} if 'PY_UNSHARE' in os.environ else 0)"

# Headings of docs/troubleshooting.md.
NO_HOOK = "the-hook-does-not-run"


def examine() -> Report:
    """Look at this interpreter, this process and this machine."""
    return Report(hook(), tried_items(), list(active()), *_outside())


def check(text: str) -> Verdict:
    """Try one list the way a program would get it: by the hook, in a child of this interpreter."""
    if text.strip(" \t").lower() in OFF:
        return Verdict(text, text, works=True)
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    with _nothing_new(text):
        done = _run([sys.executable, *options, "-c", THROUGH_HOOK], text)
    if done.status == UNRUN:
        what = "the hook does not run in this interpreter"
        return Verdict(text, text, False, what, hook().why, cause=NO_HOOK)
    lists = alternatives(text) if done.status == 0 else []
    if len(lists) > 1:
        text, whole = next((each for each in lists if check(each).works), text), text
        return Verdict(whole, text, works=True)
    return _warned(_verdict(text, text, done))


@contextmanager
def _nothing_new(text: str) -> Iterator[None]:
    """Take away again what a try makes: the file of a record, the directory of an overlay."""
    try:
        plans = [parse(each) for each in alternatives(text)]
    except UnshareError:
        plans = []
    named = [plan.record for plan in plans if plan and plan.record]
    named += [
        operation[2]
        for plan in plans
        if plan
        for operation in plan.operations
        if operation[0] == "overlay" and len(operation) > 2
    ]
    new = [each for each in map(Path, named) if not os.path.lexists(each)]
    yield
    for each in new:
        with suppress(OSError):
            if each.is_dir():
                # Which fails if there is anything in one: somebody else's, who came at that moment.
                for upper in (each / UPPER, *each.glob(f"{BELOW}/*/{UPPER}")):
                    upper.rmdir()
                shutil.rmtree(each)
            elif not each.stat().st_size:
                each.unlink()


def _warned(verdict: Verdict) -> Verdict:
    """Add what a program will run into although the list works."""
    plan = parse(verdict.list) if verdict.works else None
    found = unchangeable(plan) if plan is not None else None
    return verdict if found is None else replace(verdict, **found._asdict())


# The hook.


def hook() -> Hook:
    """Find the hook's file, and try whether it runs."""
    files = [
        Path(directory, name)
        for directory in site_directories()
        for name in ("unshare_boot.pth", "unshare_boot.start")
        if os.path.isfile(os.path.join(directory, name))
    ]
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    runs = _run([sys.executable, *options, "-c", "pass"], "?").status == REFUSED
    why = "" if runs else _why_not(files)
    working = next((file for file in files if _understood(file)), None)
    before = runs_before(working) if working else []
    return Hook([str(file) for file in files], runs, why, before)


def site_directories(everything: bool = True) -> list[str]:
    """Return the directories whose .pth files site.py reads, in its order.

    Args:
        everything: also the user's own directory where this interpreter leaves it out.
    """
    found = [] if sys.prefix == sys.base_prefix else site.getsitepackages([sys.prefix])
    if everything or site.ENABLE_USER_SITE:
        found.append(site.getusersitepackages())
    found += site.getsitepackages()
    return list(dict.fromkeys(path for path in found if os.path.isdir(path)))


def runs_before(file: Path) -> list[str]:
    """Return the .pth and .start files that run code at start-up before one of them does."""
    found = []
    reached = False
    for directory in site_directories(everything=False):
        names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
        for name in names:
            reached = reached or os.path.join(directory, name) == str(file)
            code = name.endswith(".pth") and _has_code(Path(directory, name))
            if sys.version_info >= START_UNDERSTOOD:
                code = code and name[:-4] + ".start" not in names
                code = code and sys.version_info < PTH_IGNORED
            # .start files come after all .pth files, PEP 829.
            if code and (file.suffix == ".start" or not reached):
                found.append(os.path.join(directory, name))
    if file.suffix == ".start":
        for directory in site_directories(everything=False):
            for name in sorted(os.listdir(directory)):
                if os.path.join(directory, name) == str(file):
                    return found
                if name.endswith(".start") and not name.startswith("."):
                    found.append(os.path.join(directory, name))
    return found


def _has_code(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(line.startswith(("import ", "import\t")) for line in text.splitlines())


def _understood(file: Path) -> bool:
    if file.suffix == ".start":
        return sys.version_info >= START_UNDERSTOOD
    beside = sys.version_info >= START_UNDERSTOOD and file.with_suffix(".start").exists()
    return sys.version_info < PTH_IGNORED and not beside and "unshare_boot" in file.read_text()


def _why_not(files: Sequence[Path]) -> str:
    version = f"Python {platform.python_version()}"
    if sys.flags.no_site:
        return "-S: this interpreter was told not to import site, which reads .pth files"
    if not files:
        return (
            "neither unshare_boot.pth nor unshare_boot.start is in "
            f"{', '.join(site_directories()) or 'any site-packages'}: install unshare-boot with "
            f"{sys.executable} -m pip install unshare-boot"
        )
    mine = site.getusersitepackages()
    if not site.ENABLE_USER_SITE and all(str(file.parent) == mine for file in files):
        return (
            f"it is installed for this user only, in {mine}, which this interpreter leaves out "
            "(-s, -I, PYTHONNOUSERSITE, or a virtual environment)"
        )
    names = {file.suffix for file in files}
    if names == {".start"} and sys.version_info < START_UNDERSTOOD:
        return f"{version} reads no .start files: reinstall unshare-boot by this interpreter's pip"
    if sys.version_info >= PTH_IGNORED and names == {".pth"}:
        return f"{version} ignores the import lines of .pth files: reinstall unshare-boot"
    for file in files:
        if file.suffix == ".pth" and not _has_code(file):
            return f"{file} is not as it was installed: reinstall unshare-boot"
    return "a child of this interpreter started as if the hook were not there"


# What works here.


class Place(NamedTuple):
    """What a word in the lists of ITEMS stands for; it ends with the doctor, and is not shown.

    Attributes:
        word: the word.
        path: what to put there; empty where there is none.
        why: why there is none.
        cure: what to do about it.
    """

    word: str
    path: str
    why: str = ""
    cure: str = ""


def tried_items() -> list[Verdict]:
    """Try every namespace and every item of the language, each in a child of its own."""
    privileged = Machine().capable()
    with (
        _scratch() as directory,
        _holder() as namespaces,
        ThreadPoolExecutor(4) as pool,  # most of a try is an interpreter's start
    ):
        places = (namespaces, directory)
        return list(pool.map(lambda row: _try_item(row, places, privileged), _rows()))


def _rows() -> list[tuple[str, str]]:
    """Return each item with a list to try it with, less the ``user`` of ordinary users."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = {
        "PORT": str(port),
        "DRIVER": next(filter(shutil.which, OUTBOUND), OUTBOUND[-1]),
        "SUBUID": str(_subordinate("uid")),
        "SUBGID": str(_subordinate("gid")),
    }
    rows = []
    for name, row in ITEMS.items():
        for text in row.tries:
            item = name if len(row.tries) == 1 else _item_in(text, name)
            for word, value in words.items():
                text = text.replace(word, value)
            rows.append((item, text))
    return rows


def _item_in(text: str, name: str) -> str:
    """Return the item of that name, as the list has it; a path says nothing to a reader."""
    item = next(item for item in text.split(",") if item.partition("=")[0] == name)
    return f"{name}=/path" if "=/" in item else item


def _try_item(row: tuple[str, str], places: Sequence[Place], privileged: bool) -> Verdict:
    item, text = row
    for place in places:
        if place.word in text and not place.path:
            return Verdict(item, text, False, "", place.why, place.cure)
    lists = [text] if text.startswith("user") else [f"user,{text}"]
    if privileged and lists != [text]:
        lists.insert(0, text)
    for each in lists:
        real = each
        for place in places:
            real = real.replace(place.word, place.path)
        verdict = _verdict(item, each, _run(_bare_command(), real))
        if verdict.works:
            break
    return verdict


@contextmanager
def _scratch() -> Iterator[Place]:
    """Make a directory for a while, if this user may write anywhere."""
    with ExitStack() as stack:
        path = why = ""
        try:
            path = stack.enter_context(tempfile.TemporaryDirectory(prefix="unshare-boot-"))
        except OSError as error:
            why = f"there is no directory to try it with: {error.strerror}"
        cure = "set TMPDIR to a directory that this user may write"
        yield Place("DIR", escaped(path), why, cure)


@contextmanager
def _holder() -> Iterator[Place]:
    """Keep a process in namespaces for a while."""
    with subprocess.Popen(
        [*_bare_command(), "hold"],
        env=_environment("user,net"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as child:
        assert child.stdin and child.stdout
        inside = child.stdout.readline() == "inside\n"
        path = f"/proc/{child.pid}/ns" if inside else ""
        try:
            yield Place("/proc/PID/ns", path, "there is no namespace to try it with")
        finally:
            with suppress(BrokenPipeError):
                child.stdin.close()


def _subordinate(kind: str) -> int:
    """Return the first id that is set aside for this user; else any."""
    with suppress(OSError, IndexError):
        return ids_set_aside(kind)[0][0]
    return 1 if os.getuid() == 0 else FIRST_SUBORDINATE


class Done(NamedTuple):
    """What a child left."""

    status: int
    stderr: str


def _bare_command() -> list[str]:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # -I would leave out PYTHONHOME as well, without which such an interpreter finds no library.
    isolated = "-s" if "PYTHONHOME" in os.environ else "-I"
    return [sys.executable, isolated, "-S", "-c", BARE, package]


def _environment(text: str) -> dict[str, str]:
    others = ("PY_UNSHARE_ONLY", "PY_UNSHARE_ON_ERROR", "PY_UNSHARE_VERBOSE")
    kept = {name: value for name, value in os.environ.items() if name not in others}
    return {**kept, "PY_UNSHARE": text}


def _run(command: Sequence[str], text: str) -> Done:
    try:
        done = subprocess.run(
            command,
            env=_environment(text),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return Done(1, f"  what: no answer within {PATIENCE} seconds")
    except OSError as error:
        return Done(1, f"  what: {error}")
    return Done(done.returncode, done.stderr)


def _verdict(item: str, text: str, done: Done) -> Verdict:
    if done.status == 0:
        return Verdict(item, text, works=True)
    said: dict[str, str] = {}
    for line in done.stderr.splitlines():
        label, _, words = (part.strip() for part in line.partition(":"))
        said[label] = f"{said[label]}; {words}" if label in said else words  # one of several lists
    ended = f"the child ended with status {done.status}: {' '.join(done.stderr.split())}"
    what = said.get("what", ended.rstrip(": "))
    cause = said.get("more", "").partition(";")[0].partition("#")[2]
    return Verdict(item, text, False, what, said.get("why", ""), said.get("cure", ""), cause)


def _outside() -> tuple[int | None, int | None]:
    try:
        return original_uid(), original_gid()
    except UnshareError:
        return None, None


WHOLE = True
