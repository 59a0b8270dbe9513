"""Every system call of the hook fails once, with each error: no program runs half-isolated."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from harness import Finished, Python, Session
from harness.faults import PROGRAM, Call, fail, record, report
from harness.session import default

WHOLE = "user,net,mount,uts=inside,ipc,cgroup,time=+1d"
SHORT = "user,net"
DAY = 86400
ERRORS = ["EPERM", "EINVAL", "ENOSPC", "ENOMEM", "EACCES"]

# These cannot fail, says each one's man page.
INFALLIBLE = {"getpid", "gettid", "getuid", "geteuid", "getgid", "getegid"}


@dataclass(frozen=True)
class Start:
    """One list on one interpreter, and the system calls of its start.

    Attributes:
        own: the calls that the hook makes itself.
        imports: those that importlib and the dynamic loader make for it.
        outside: what the program reports without the list.
    """

    python: Python
    unshare: str
    own: list[Call]
    imports: list[Call]
    outside: dict[str, Any]

    def fail(self, call: Call, how: str) -> Finished:
        return fail(self.python, self.unshare, call, how)

    def isolates(self, done: Finished) -> bool:
        """Whether a program ran with the whole list in force, and with nothing else."""
        if done.status != 0:
            return False
        told, names = report(done), self.unshare.split(",")
        inside, around = told["namespaces"], self.outside["namespaces"]
        moved = {FILES.get(name, name) for name in (each.partition("=")[0] for each in names)}
        shift = DAY if "time" in moved else 0
        return (
            all((inside[kind] != around[kind]) == (kind in moved) for kind in KINDS)
            and inside["time"] == inside["time_for_children"]
            and inside["pid"] == inside["pid_for_children"]
            and told["interfaces"] == ["lo"]
            and told["loopback"]
            and told["uid_map"] == ["0", str(self.python.user.uid), "1"]
            and told["gid_map"] == ["0", str(self.python.user.gid), "1"]
            and told["setgroups"] == "deny"
            and ("mnt" not in moved or told["propagation"] == [])
            and (told["hostname"] == "inside") == ("uts" in moved)
            and shift <= told["monotonic"] - self.outside["monotonic"] < shift + DAY
            and shift <= told["boottime"] - self.outside["boottime"] < shift + DAY
            and told["variable"] is None
            and sorted(told["active"].split(","))
            == sorted(f"{NAMES.get(kind, kind)}={inside[kind]}" for kind in moved)
        )


KINDS = ("user", "net", "mnt", "uts", "ipc", "cgroup", "time", "pid")  # as in /proc/self/ns
FILES = {"mount": "mnt"}
NAMES = {"mnt": "mount"}


@pytest.fixture(
    scope="module",
    params=[(which, unshare) for which in ("oldest", "newest") for unshare in (SHORT, WHOLE)],
    ids="-".join,
)
def start(request: pytest.FixtureRequest, session: Session) -> Start:
    which, unshare = request.param
    python = session.python(default(session.found)[0 if which == "oldest" else -1])
    own: list[Call] = []
    imports: list[Call] = []
    descriptors: set[str] = set()
    for call in record(python, unshare, session.make_workdir() / "trace"):
        ours = is_own(call) or (
            call.name in ("close", "write") and call.arguments.split(",")[0] in descriptors
        )
        if call.name in ("openat", "socket"):
            (descriptors.add if ours else descriptors.discard)(call.result)
        if call.name not in INFALLIBLE:
            (own if ours else imports).append(call)
    return Start(python, unshare, own, imports, report(python.run(PROGRAM)))


def is_own(call: Call) -> bool:
    if call.name in ("unshare", "setns", "mount", "sethostname", "socket"):
        return True
    if call.name == "ioctl":
        return "SIOCSIFFLAGS" in call.arguments
    return '"/proc/self/' in call.arguments


def step(call: Call) -> tuple[str, str]:
    """The item that one of the hook's own calls is made for, and how a message names the call."""
    for item, sign in SIGNS:
        if re.search(sign, f"{call.name}({call.arguments})"):
            return item, NAMED.get(call.name, "").format(call=call)
    raise AssertionError(f"what is {call} for?")


SIGNS = [
    ("user", "NEWUSER|setgroups|[ug]id_map|deny|0 [0-9]+ 1|ns/user"),
    ("net", r"NEWNET|AF_INET|SIOCSIFFLAGS|ns/net"),
    ("mount", r"NEWNS|MS_REC|ns/mnt"),
    ("uts", "NEWUTS|sethostname|ns/uts"),
    ("ipc", "NEWIPC|ns/ipc"),
    ("cgroup", "NEWCGROUP|ns/cgroup"),
    ("time", "NEWTIME|timens_offsets|monotonic|setns|ns/time"),
    ("", "^close"),
]
NAMED = {
    "unshare": "unshare(CLONE_NEW",
    "write": "write(/proc/self/",
    "openat": "/proc/self/",
    "socket": "socket(AF_INET",
    "ioctl": "ioctl(SIOCSIFFLAGS)",
    "mount": "mount(/)",
    "sethostname": "sethostname",
    "setns": "setns(",
    "newfstatat": "/proc/self/ns/",
    "stat": "/proc/self/ns/",
}


def refused(done: Finished) -> bool:
    return done.status == 125 and not done.stdout and "not started" in done.stderr


def test_what_is_recorded_is_the_whole_hook(start: Start) -> None:
    counts = Counter("stat" if "stat" in call.name else call.name for call in start.own)
    expected = {"unshare": 2, "socket": 1, "ioctl": 1, "openat": 3, "write": 3, "close": 4}
    if start.unshare == WHOLE:
        expected.update(unshare=7, mount=1, sethostname=1, openat=5, write=4, setns=1, close=6)
    assert counts == {**expected, "stat": expected["unshare"]}
    read = " ".join(call.arguments for call in start.imports)
    modules = ("__init__", "namespaces", "spec") if start.unshare == WHOLE else ("namespaces",)
    for module in modules:
        assert f"/unshare_boot/{module}.py" in read
    # And what the others are compared with: a start that nothing happens to, and none at all.
    assert start.isolates(start.python.run(PROGRAM, unshare=start.unshare))
    for less in ("user", "user,net=down", "user,mount,uts=inside,ipc,cgroup,time=+1d", "off"):
        assert not start.isolates(start.python.run(PROGRAM, unshare=less))


@pytest.mark.parametrize("error", ERRORS)
def test_the_hooks_own_calls(start: Start, error: str) -> None:
    """Each is refused, with the item that it was for, its name and the error."""
    wrong = []
    for call in start.own:
        done = start.fail(call, f"error={error}")
        if (call.name, call.number, error) == ("unshare", 1, "EINVAL"):
            # It says that there are threads. There are none any more: tried again.
            if not start.isolates(done):
                wrong.append(f"{call}: {done}")
            continue
        item, named = step(call)
        words = os.strerror(getattr(errno, error))
        said = re.search(rf" {item}.*{re.escape(named)}.*{words}", done.stderr)
        # Python's own socket() tries again without SOCK_CLOEXEC, for kernels before 2.6.27.
        again = call.name == "socket" and error == "EINVAL" and start.isolates(done)
        if not ((refused(done) and said) or again):
            wrong.append(f"{call}: {done}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("error", ERRORS)
def test_the_calls_of_its_imports(start: Start, error: str) -> None:
    """Most do not matter: importlib looks elsewhere, compiles anew, or allocates otherwise.

    What may not be is anything between a refusal and a program that is isolated through and
    through. Where memory is refused, the C library may end the process by a signal.
    """
    wrong = []
    for call in start.imports:
        done = start.fail(call, f"error={error}")
        stopped = not done.stdout and (refused(done) or done.status < 0)
        if not (stopped or start.isolates(done)):
            wrong.append(f"{call}: {done}")
    assert not wrong, "\n".join(wrong)


def test_interrupted_calls(start: Start) -> None:
    """EINTR: made again, where the call can be interrupted at all; else refused."""
    wrong = []
    for call in start.own:
        done = start.fail(call, "error=EINTR")
        again = call.name in ("openat", "write", "mount", "setns")
        if not (start.isolates(done) or (refused(done) and not again)):
            wrong.append(f"{call}: {done}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_signals_at_its_calls(start: Start, signal: str) -> None:
    """Python makes a KeyboardInterrupt of SIGINT, wherever it then is; the others kill at once."""
    wrong = []
    for call in start.own + start.imports[::5]:
        done = start.fail(call, f"signal={signal}")
        stopped = not done.stdout and (
            done.status == 125 if signal == "SIGINT" else done.status < 0
        )
        if not (stopped or start.isolates(done)):
            wrong.append(f"{call}: {done}")
    assert not wrong, "\n".join(wrong)
