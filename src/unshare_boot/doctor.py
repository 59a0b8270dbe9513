"""Whether the hook runs, and what can be had on this machine, by trying it.

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
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import REFUSED, UnshareError, __version__, active, original_gid, original_uid
from .diagnosis import UNKNOWN
from .machine import Machine
from .namespaces import OFF
from .spec import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

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


@dataclass(frozen=True)
class Hook:
    """The file that makes site.py run us.

    Attributes:
        files: where it is installed; none where it is not.
        runs: whether a child of this interpreter, with the same options, ran it just now.
        why: why not.
        before: what else runs code at start-up before it.
    """

    files: list[str]
    runs: bool
    why: str
    before: list[str]


@dataclass(frozen=True)
class Verdict:
    """What came of trying one list.

    Attributes:
        item: what it was tried for.
        list: the list.
        works: whether it could be had.
        what: what failed; empty where it works, as are the next two.
        why: the cause.
        cure: what to do about it.
    """

    item: str
    list: str
    works: bool
    what: str = ""
    why: str = ""
    cure: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Report:
    """All that the doctor knows."""

    hook: Hook
    items: list[Verdict]
    holds: list[str]
    uid: int | None
    gid: int | None
    version: str = __version__
    python: str = platform.python_version()
    executable: str = sys.executable
    kernel: str = field(default_factory=lambda: Machine().release())

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def examine() -> Report:
    """Look at this interpreter, this process and this machine."""
    return Report(hook(), tried_items(), list(active()), *_outside())


def check(text: str) -> Verdict:
    """Try one list the way a program would have it: by the hook, in a child of this interpreter."""
    if text.strip(" \t").lower() in OFF:
        return Verdict(text, text, works=True)
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    done = _run([sys.executable, *options, "-c", THROUGH_HOOK], text)
    if done.status == UNRUN:
        return Verdict(text, text, False, "the hook does not run in this interpreter", hook().why)
    return _verdict(text, text, done)


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


# What can be had.


def tried_items() -> list[Verdict]:
    """Try every namespace and every item of the language, each in a child of its own."""
    privileged = Machine().capable()
    with (
        tempfile.TemporaryDirectory(prefix="unshare-boot-") as scratch,
        _holder() as namespaces,
        ThreadPoolExecutor(4) as pool,  # most of a try is an interpreter's start
    ):
        names = {"DIR": _escape(scratch), "/proc/PID/ns": namespaces}
        return list(pool.map(lambda row: _try_item(row, names, privileged), _rows(names)))


def _rows(names: dict[str, str]) -> list[tuple[str, str]]:
    """Return each item with the list to try it with, less the ``user`` of ordinary users."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    outbound = "slirp4netns" if not shutil.which("pasta") else "pasta"
    plain = ("net", "net=pasta", "net=slirp4netns", "mount", "uts", "ipc", "cgroup", "time", "pid")
    joined = "user=/proc/PID/ns/user,net=/proc/PID/ns/net" if names["/proc/PID/ns"] else ""
    return [
        *((item, item) for item in ("user", "user=current", "user=auto", "user=all", "user=none")),
        *((item, item) for item in plain),
        ("net=/path", joined),
        ("map-users", f"user,map-users=1:{_subordinate('/etc/subuid')}:1"),
        ("map-groups", f"user,map-groups=1:{_subordinate('/etc/subgid')}:1"),
        ("setgroups", "user,setgroups=deny"),
        ("monotonic", "monotonic=+1"),
        ("boottime", "boottime=+1"),
        ("publish", f"net={outbound},publish={port}:80"),
        ("addr", "net,addr=10.0.0.1/8"),
        ("proc", "pid,proc"),
        ("sys", "net,sys"),
        ("tmpfs", "tmpfs=DIR"),
        ("bind", "bind=DIR:DIR"),
        ("ro", "ro=DIR"),
        ("overlay", "overlay=DIR"),
        ("caps=keep", "caps=keep"),
        ("caps=none", "caps=none"),
    ]


def _try_item(row: tuple[str, str], names: dict[str, str], privileged: bool) -> Verdict:
    item, text = row
    if not text:
        return Verdict(item, text, False, "", "there is no namespace to try it with")
    lists = [text] if text.startswith("user") else [f"user,{text}"]
    if privileged and lists != [text]:
        lists.insert(0, text)
    for each in lists:
        real = each
        for name, path in names.items():
            real = real.replace(name, path)
        verdict = _verdict(item, each, _run(_bare_command(), real))
        if verdict.works:
            break
    return verdict


def _escape(path: str) -> str:
    for character in "\\,:":
        path = path.replace(character, "\\" + character)
    return path


@contextmanager
def _holder() -> Iterator[str]:
    """Keep a process in namespaces; yields the directory of these, empty if there are none."""
    with subprocess.Popen(
        [*_bare_command(), "hold"],
        env=_environment("user,net"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as child:
        assert child.stdin and child.stdout
        held = child.stdout.readline() == "inside\n"
        try:
            yield f"/proc/{child.pid}/ns" if held else ""
        finally:
            with suppress(BrokenPipeError):
                child.stdin.close()


def _subordinate(path: str) -> int:
    """Return the first id that /etc/subuid or /etc/subgid sets aside for this user; else any."""
    import pwd

    keys = [str(os.getuid())]
    with suppress(KeyError):
        keys.append(pwd.getpwuid(os.getuid()).pw_name)
    for line in Machine().read(path).splitlines():
        owner, _, rest = line.partition(":")
        first = rest.partition(":")[0]
        if owner in keys and first.isdigit():
            return int(first)
    return 1 if os.getuid() == 0 else 100000


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
        label, _, words = line.partition(":")
        said.setdefault(label.strip(), words.strip())
    ended = f"the child ended with status {done.status}: {' '.join(done.stderr.split())}"
    what = said.get("what", ended.rstrip(": "))
    return Verdict(item, text, False, what, said.get("why", ""), said.get("cure", ""))


def _outside() -> tuple[int | None, int | None]:
    try:
        return original_uid(), original_gid()
    except UnshareError:
        return None, None


# How it is shown.


class Style(NamedTuple):
    """How to write: colours or not, and how many columns there are."""

    colour: bool
    width: int

    @classmethod
    def of(cls, stream: TextIO) -> Style:
        """Return what suits a stream: colours on a terminal only, and not where NO_COLOR is set."""
        terminal = stream.isatty()
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        width = shutil.get_terminal_size().columns if terminal else 80
        return cls(terminal and not plain, max(60, min(width, 100)))

    def paint(self, text: str, number: str) -> str:
        """Return text in a colour of ECMA-48."""
        return f"\033[{number}m{text}\033[0m" if self.colour else text

    def answer(self, works: bool) -> str:
        """Return yes or no, in three columns."""
        return self.paint("yes", "32") if works else self.paint("no ", "31")

    def block(self, text: str, indent: int) -> str:
        """Return text wrapped, each line but the first indented; nothing long is broken."""
        return ("\n" + " " * indent).join(
            textwrap.wrap(text, self.width - indent, break_long_words=False, break_on_hyphens=False)
        )


def show_report(report: Report, style: Style) -> str:
    """Return the report for people to read."""
    hook = report.hook
    lines = [
        f"unshare-boot {report.version}, Python {report.python}, Linux {report.kernel}, "
        f"uid {os.geteuid()}",
        "",
        style.paint("The hook", "1"),
        f"  {style.answer(hook.runs)}  "
        + style.block(
            "PY_UNSHARE takes effect in this interpreter"
            if hook.runs
            else f"PY_UNSHARE does nothing in this interpreter: {hook.why}",
            7,
        ),
        *(f"       {file}" for file in hook.files),
    ]
    if hook.before:
        lines.append("       what runs code at start-up before it:")
        lines += [f"         {file}" for file in hook.before]
    lines += ["", style.paint("What can be had here", "1")]
    for each in report.items:
        lines.append(f"  {style.answer(each.works)}  {_row(each, style)}")
    lines += ["", style.paint("This process", "1")]
    holds = ", ".join(report.holds) or "nothing"
    lines.append(f"       holds here: {holds}")
    if report.uid is not None and (report.uid, report.gid) != (os.getuid(), os.getgid()):
        lines.append(
            f"       uid {os.getuid()} is {report.uid} outside, gid {os.getgid()} is {report.gid}"
        )
    return "\n".join(lines)


def _row(verdict: Verdict, style: Style) -> str:
    indent = 24
    start = f"{verdict.item:<17}"
    if verdict.works:
        same = verdict.list == verdict.item
        return (start + ("" if same else f"PY_UNSHARE={verdict.list}")).rstrip()
    unknown = verdict.why.startswith(UNKNOWN)
    words = verdict.what if unknown else verdict.why or verdict.what
    parts = [words[len(verdict.item) + 2 :] if words.startswith(verdict.item + ": ") else words]
    if verdict.cure and not unknown:
        parts.append(f"cure: {verdict.cure}")
    return start + ("\n" + " " * indent).join(style.block(part, indent) for part in parts)


def show_verdict(verdict: Verdict, style: Style) -> str:
    """Return the answer of ``check`` for people to read."""
    lines = [f"{style.answer(verdict.works)}  PY_UNSHARE={show(verdict.list)}"]
    for label in ("what", "why", "cure"):
        words = getattr(verdict, label)
        if words:
            lines.append(f"  {label + ':':<5} {style.block(words, 8)}")
    return "\n".join(lines)


WHOLE = True
