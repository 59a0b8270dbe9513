"""A small machine of a proof's own, in namespaces, where everything can be counted.

On the real machine other programs come and go, and a process, namespace or file more is nobody's
fault. A ground has process ids, mounts, temporary directories, IPC objects and limits of its own,
so that what is there after a proof and was not there before it has been left by the proof.

`run` starts a program in there, as its PID 1, which calls `settle` first; the rest of this module
is for that program. It reads a JSON document from its standard input, and writes one.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.internet import Site
from harness.processes import Argument
from harness.session import PROJECT, Session

PATIENCE = 60.0  # seconds for what is ending to be gone
COVERED = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/dev/mqueue")
HOME, WORK = Path("/tmp/home"), Path("/tmp/work")
RUNTIME = Path("/run/user")

MS_BIND = 0x1000  # include/uapi/linux/mount.h
MS_REC = 0x4000
MS_SHARED = 0x100000
CLONE_NEWUSER = 0x10000000  # include/uapi/linux/sched.h
# The kinds of namespaces as /proc/PID/ns and /proc/sys/user have them, with their flags.
KINDS = {
    "user": CLONE_NEWUSER,
    "net": 0x40000000,
    "mnt": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "cgroup": 0x02000000,
    "time": 0x00000080,
    "pid": 0x20000000,
}
ENDLESS = 2**31 - 1

_libc = ctypes.CDLL(None, use_errno=True)


def run(
    module: str,
    config: Mapping[str, Any],
    session: Session,
    directory: Path,
    *,
    site: Site | None = None,
    group: Path | None = None,
    timeout: float = 300,
) -> Any:
    """Run a module as the first process of a new ground; needs root.

    Args:
        module: of this package, such as "soak_starts".
        config: what it is told, beside what `settle` needs.
        session: whose user is the ordinary user in there.
        directory: for a few files; not visible inside.
        site: whose network and /dev/net/tun it has; its own without.
        group: the cgroup that processes are counted in.
        timeout: seconds.

    Returns:
        What it has written.
    """
    user = session.user
    (directory / "passwd").write_text(f"root:x:0:0::/:/bin/sh\ntess:x:{user.uid}:{user.gid}::/:\n")
    (directory / "ids").write_text("tess:1000000:65536\n")
    told = {
        **config,
        "uid": user.uid,
        "gid": user.gid,
        "directory": str(directory),
        "visible": [str(session.directory), str(PROJECT), sys.prefix, sys.base_prefix],
        "group": str(group) if group else "",
        "patience": PATIENCE,
    }
    new = ["unshare", "--mount", "--ipc", "--pid", "--fork", "--kill-child"]
    command: list[Argument] = [*new, *([] if site else ["--net"]), sys.executable, "-m"]
    command.append(f"proof.{module}")
    done = session.root.run(
        site.enter(*command) if site else command,
        stdin=json.dumps(told),
        env={"PYTHONPATH": f"{PROJECT / 'tests'}:{PROJECT}", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=timeout,
    )
    return json.loads(done.ok())


# What follows is for the process inside.


def settle() -> dict[str, Any]:
    """Make this PID 1 of a ground into root there; returns what it was told."""
    told = json.loads(sys.stdin.read())
    assert isinstance(told, dict)
    visible = {Path(path) for path in told["visible"]}
    kept = {path: os.open(path, os.O_PATH) for path in visible if _is_covered(path)}
    directory = Path(told["directory"])
    for name, target in (("passwd", "passwd"), ("ids", "subuid"), ("ids", "subgid")):
        _mount(directory / name, Path("/etc", target), None, MS_BIND)
    _mount("proc", "/proc", "proc")
    for covered in filter(os.path.isdir, COVERED):
        kind = "mqueue" if covered == "/dev/mqueue" else "tmpfs"
        _mount(kind, covered, kind, 0, b"mode=1777" if kind == "tmpfs" else None)
    for path, descriptor in kept.items():
        path.mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC)
        os.close(descriptor)
    for path in (HOME, WORK, RUNTIME):
        path.mkdir(parents=True)
        os.chown(path, told["uid"], told["gid"])
    # The harshest propagation: what leaks from a mount namespace of root's is seen here.
    _mount(None, "/", None, MS_SHARED | MS_REC)
    _enter_user_namespace()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    return told


def _is_covered(path: Path) -> bool:
    return any(Path(covered) in (path, *path.parents) for covered in COVERED)


def _mount(
    source: str | Path | None,
    target: str | Path,
    kind: str | None,
    flags: int = 0,
    data: bytes | None = None,
) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    _check(_libc.mount(*words, flags, data), f"mount({target})")


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)


def _enter_user_namespace() -> None:
    """Enter one in which every id is itself: it has limits of its own (namespaces(7))."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/1/{name}").write_text("0 0 4294967295")
        os._exit(0)
    _check(_libc.unshare(CLONE_NEWUSER), "unshare")
    os.close(reader)
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0


def start(
    command: Sequence[Argument],
    env: Mapping[str, str],
    told: Mapping[str, Any],
    streams: Sequence[int],
    as_root: bool = False,
) -> int:
    """Start a program as the leader of a new session, with these descriptors and no others.

    Returns:
        Its process id.
    """
    child = os.fork()
    if child:
        return child
    try:
        if told["group"]:
            Path(told["group"], "cgroup.procs").write_text("0")
        os.setsid()
        copies = [os.dup(stream) for stream in streams]
        for stream, copy in enumerate(copies):
            os.dup2(copy, stream)
        os.closerange(len(streams), 1024)
        for number in (signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        if not as_root:
            os.setgroups([])
            os.setresgid(told["gid"], told["gid"], told["gid"])
            os.setresuid(told["uid"], told["uid"], told["uid"])
        os.umask(0o022)
        os.chdir(WORK)
        os.execve(command[0], [os.fspath(word) for word in command], dict(env))
    finally:
        os._exit(127)


def processes() -> list[int]:
    """All but this one, zombies included."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) > 1]


def reap(timeout: float) -> dict[int, int]:
    """Wait until a child ends, but no longer than that; returns the statuses of all that have."""
    signal.sigtimedwait({signal.SIGCHLD}, max(0.0, timeout))
    found = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            found[pid] = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    return found


def until_alone(patience: float) -> list[str]:
    """Wait for all others to end; returns those that have not."""
    end = time.monotonic() + patience
    while processes() and time.monotonic() < end:
        reap(0.05)
    return [f"process {pid}: {_about(pid)}" for pid in processes()]


def _about(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} ({words})"
    return "gone"


@dataclass(frozen=True)
class Census:
    """All that is there, of what a start could leave."""

    namespaces: list[str]
    mounts: list[str]
    files: list[str]
    descriptors: list[str]
    ipc: list[str]
    sockets: list[str]
    interfaces: list[str]

    @classmethod
    def take(cls) -> Census:
        """Look at everything; to be compared when nothing else runs."""
        return cls(
            sorted(_namespaces()),
            sorted(Path("/proc/self/mountinfo").read_text().splitlines()),
            sorted(_files()),
            sorted(os.listdir("/proc/self/fd")),
            [line for name in ("shm", "sem", "msg") for line in _lines(f"/proc/sysvipc/{name}")],
            [
                " ".join(line.split()[1:4])
                for name in ("unix", "udp", "udp6", "tcp", "tcp6", "raw", "packet")
                for line in _lines(f"/proc/net/{name}")
                if name[:3] != "tcp" or line.split()[3] == "0A"  # those that listen
            ],
            [line.split()[0] for line in _lines("/proc/net/dev")],
        )

    def more_than(self, before: Census) -> list[str]:
        """What was not there before; and what is missing."""
        found = []
        for each in fields(self):
            now, then = getattr(self, each.name), getattr(before, each.name)
            found += [f"{each.name}: {item}" for item in now if item not in then]
            found += [f"{each.name}: {item} is gone" for item in then if item not in now]
            if not found and len(now) > len(then):
                found.append(f"{each.name}: {len(now)}, not {len(then)}: {now}")
        return found


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()[1:] if os.path.exists(path) else []


def _files() -> Iterator[str]:
    for top in COVERED:
        for directory, names, files in os.walk(top):
            names[:] = [name for name in names if not os.path.ismount(Path(directory, name))]
            yield from (os.path.join(directory, name) for name in [*names, *files])


def _namespaces() -> set[str]:
    """Those that a process is in, that a descriptor leads to, or that are mounted somewhere."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        for directory in ("ns", "fd"):
            with contextlib.suppress(OSError):
                for link in os.listdir(f"/proc/{name}/{directory}"):
                    with contextlib.suppress(OSError):
                        target = os.readlink(f"/proc/{name}/{directory}/{link}")
                        if target.partition(":")[0].partition("_")[0] in KINDS:
                            found.add(target)
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{name}/mountinfo").read_text().splitlines():
                if " - nsfs " in line:
                    found.add(line.split()[3])
    return found


def namespaces_in_use(uid: int, patience: float) -> list[str]:
    """Count the namespaces of the ground that a user has made, exactly, by the kernel's own books.

    One that nothing in /proc leads to counts as well. With a limit of 1 another one can be made if
    there is none. The kernel takes some apart after their last process has ended, so that this
    tries again before it says that there are any.
    """
    found = []
    end = time.monotonic() + patience
    for kind in KINDS:
        limit = 1
        while not _may_make(kind, uid, limit):
            if time.monotonic() > end:
                limit += 1
            else:
                reap(0.02)
        if limit > 1:
            found.append(f"{limit - 1} {kind} namespaces of uid {uid} are in use")
    return found


def _may_make(kind: str, uid: int, limit: int) -> bool:
    """Whether a user can have one more namespace of a kind, with that many in all."""
    setting = Path(f"/proc/sys/user/max_{kind}_namespaces")
    setting.write_text(str(limit))
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        # Root here needs no user namespace, and would not see its limit apart from the other's.
        made = kind == "user" or uid == 0 or _libc.unshare(CLONE_NEWUSER) == 0
        os._exit(0 if made and _libc.unshare(KINDS[kind]) == 0 else 1)
    while (ended := reap(1)).get(child) is None:
        pass
    setting.write_text(str(ENDLESS))
    return ended[child] == 0


def limit_namespaces(limit: int) -> None:
    """Let every user in the ground have so many of each kind."""
    for kind in KINDS:
        Path(f"/proc/sys/user/max_{kind}_namespaces").write_text(str(limit))


class MemoryGroup:
    """A cgroup that counts the memory of its processes, the kernel's for them included."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Version 1 and version 2 of cgroups(7).
        old = (path / "memory.usage_in_bytes").exists()
        self._usage = path / ("memory.usage_in_bytes" if old else "memory.current")
        self._reclaim = path / ("memory.force_empty" if old else "memory.reclaim")
        self._order = "0" if old else "1G"

    @classmethod
    @contextlib.contextmanager
    def make(cls, name: str) -> Iterator[MemoryGroup | None]:
        """Have a new one; None where root cannot."""
        made = None
        for top in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
            with contextlib.suppress(OSError):
                (top / name).mkdir()
                made = cls(top / name)
                if made._usage.exists():
                    break
                made.path.rmdir()
                made = None
        try:
            yield made
        finally:
            if made:
                _remove(made.path)

    def used(self) -> int:
        """Bytes, once files that were read, and can be read again, are out of memory."""
        with contextlib.suppress(OSError):  # EAGAIN: there was less to take back than asked for
            self._reclaim.write_text(self._order)
        return int(self._usage.read_text())


def _remove(path: Path) -> None:
    """Remove a cgroup, which is possible a moment after its last process has ended."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            path.rmdir()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def main(prove: Callable[[dict[str, Any]], Any]) -> None:
    """Be the program of a ground."""
    report = prove(settle())
    sys.stdout.write(json.dumps(report))
