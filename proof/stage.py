"""A place to start programs in, and to look at them from outside of it.

A stage is a mount namespace of root's with users, subordinate ids and a small tree of its own. Its
mounts are shared, so that whatever a program's mounts would do to the outside is seen in it, and
the machine's own are in no danger. Everything here is read in /proc by the suite, as root.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import Python, require_root, require_tool

NS_GET_USERNS = 0xB701  # ioctl_ns(2)
NS_GET_PARENT = 0xB702
LONG = 24 * 3600.0  # seconds that a stage may be needed
KINDS = ("user", "net", "mnt", "uts", "ipc", "cgroup", "time", "pid")

# Tries to make a file in each directory that it is told of, tells its variables, and stays.
PROGRAM = """
import os, sys
for number, directory in enumerate(sys.argv[1:]):
    try:
        open(os.path.join(directory, f"new-{number}"), "w").close()
    except OSError:
        pass
names = sorted(name for name in os.environ if name.startswith("PY_UNSHARE"))
print(*(f"{name}:{os.environ[name]}" for name in names), flush=True)
sys.stdin.read()
"""

ODD = "o,d:d \\"
# The tree: what is in each directory; a name ending in / is one. c is another file system.
TREE = {
    "": ["a/", "b/", "c/", "file", "other", "link", f"{ODD}/"],
    "a": ["in-a", "sub/"],
    "a/sub": ["in-sub"],
    "b": ["in-b"],
    "c": ["in-c", "sub/"],
    "c/sub": ["in-c-sub"],
    ODD: [],
}
MODES = {"": 0o755, "a": 0o700, "a/sub": 0o755, "b": 0o1777, "c": 0o750, "c/sub": 0o755, ODD: 0o711}
LINK = "a"
DIRECTORIES = [*TREE]

# What /etc/subuid and /etc/subgid of a stage grant, first and count, to the user and to root.
GRANTED = {
    "uid": {"tess": [(100000, 65536), (300000, 10)], "root": [(500000, 100)]},
    "gid": {"tess": [(100000, 1000)], "root": [(600000, 50)]},
}


@dataclass(frozen=True)
class MountLine:
    """A line of mountinfo, without what differs from one start to the next."""

    point: str
    kind: str
    read_only: bool
    shared: bool
    slave: bool


class Stage:
    """A mount namespace; `with stage_of(…) as stage`."""

    def __init__(self, python: Python, pid: int, tree: Path, as_root: bool) -> None:
        self.python = python
        self.pid = pid
        self.tree = tree
        self.user = python.root if as_root else python.user

    def path(self, path: str | Path) -> Path:
        """Where the suite finds a path of the stage."""
        return Path(f"/proc/{self.pid}/root{path}")

    @contextlib.contextmanager
    def popen(
        self,
        text: str | None,
        env: Mapping[str, str],
        cwd: Path,
        *,
        as_root: bool | None = None,
        python: Python | None = None,
        timeout: float = 60,
    ) -> Iterator[subprocess.Popen[str]]:
        """Start the program with a list, as the stage's user or as somebody else."""
        user = self.user
        if as_root is not None:
            user = self.python.root if as_root else self.python.user
        ids = [f"--setuid={user.uid}", f"--setgid={user.gid}"]
        enter = ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", f"--wdns={cwd}", *ids, "--"]
        directories = [self.tree / each for each in DIRECTORIES]
        program: list[str | Path] = [
            (python or self.python).executable,
            "-I",
            "-c",
            PROGRAM,
            *directories,
        ]
        variables = {**env, **({} if text is None else {"PY_UNSHARE": text})}
        with self.python.root.popen([*enter, *program], env=variables, timeout=timeout) as child:
            yield child

    @contextlib.contextmanager
    def hold(self, text: str | None, env: Mapping[str, str], as_root: bool) -> Iterator[int]:
        """Keep a program in namespaces for others to join; its process id."""
        with self.popen(text, env, self.tree, as_root=as_root, timeout=LONG) as child:
            assert child.stdout and child.stderr
            if not child.stdout.readline():
                raise AssertionError(child.stderr.read())
            yield program_of(child.pid)

    def clean(self) -> None:
        """Take away what programs have made in the tree."""
        for directory in DIRECTORIES:
            for path in self.path(self.tree / directory).glob("new-*"):
                path.unlink()

    def contents(self) -> dict[str, list[str]]:
        """What is in each directory of the tree."""
        return {each: sorted(os.listdir(self.path(self.tree / each))) for each in DIRECTORIES}


@contextlib.contextmanager
def stage_of(python: Python, directory: Path, *, as_root: bool) -> Iterator[Stage]:
    """Make a stage.

    Args:
        python: what to start there.
        directory: an empty one, of the session's.
        as_root: whose processes the programs are, and whose the tree is.
    """
    require_root()
    for tool in ("nsenter", "unshare", "newuidmap"):
        require_tool(tool)
    owner = python.root if as_root else python.user
    tree = directory / "tree"
    tree.mkdir()
    uid, gid = python.user.uid, python.user.gid
    passwd = f"root:x:0:0::/:/bin/sh\ntess:x:{uid}:{gid}::/:/bin/sh\n"
    (directory / "passwd").write_text(passwd)
    (directory / "group").write_text("root:x:0:\ndaemon:x:1:\n")
    for kind, granted in GRANTED.items():
        lines = [f"{name}:{first}:{n}" for name, ranges in granted.items() for first, n in ranges]
        # subuid(5): by name or by number, both are good.
        text = "\n".join(lines).replace("tess:300000", f"{uid}:300000") + "\n"
        (directory / f"sub{kind}").write_text(text)
    script = f"""
        set -e
        mount --make-rshared /
        for name in passwd group subuid subgid; do
            mount --bind {directory}/$name /etc/$name
        done
        mount -t tmpfs -o mode=755 tmpfs {tree}
        mkdir {tree}/c
        mount -t tmpfs tmpfs {tree}/c
        mount --make-private {tree}/c
        echo ready
        exec cat
    """
    with python.root.popen(["unshare", "--mount", "sh", "-c", script], timeout=LONG) as child:
        assert child.stdout and child.stderr
        if child.stdout.readline() != "ready\n":
            raise AssertionError(child.stderr.read())
        stage = Stage(python, child.pid, tree, as_root)
        _make_tree(stage.path(tree), owner.uid, owner.gid)
        yield stage


def _make_tree(top: Path, uid: int, gid: int) -> None:
    for directory, names in TREE.items():
        for name in names:
            path = top / directory / name
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            elif name == "link":
                path.symlink_to(LINK)
            else:
                path.write_text(name)
    for directory, mode in MODES.items():
        (top / directory).chmod(mode)
    for path in [top, *top.rglob("*")]:
        os.chown(path, uid, gid, follow_symlinks=False)


# What can be seen of a process.


def program_of(pid: int) -> int:
    """The program that was started: a supervisor's last child, else the process itself."""
    children = children_of(pid)
    return children[-1] if children else pid


def children_of(pid: int) -> list[int]:
    """The children of a process's only thread."""
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def inodes(pid: int) -> dict[str, int]:
    """The namespaces of a process, each by its inode."""
    return {kind: os.stat(f"/proc/{pid}/ns/{kind}").st_ino for kind in KINDS}


def owners(pid: int) -> dict[str, int]:
    """The user namespace that owns each namespace of a process; of its own, the one around it."""
    found = {}
    for kind in KINDS:
        descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
        try:
            request = NS_GET_PARENT if kind == "user" else NS_GET_USERNS
            related = fcntl.ioctl(descriptor, request)
            found[kind] = os.fstat(related).st_ino
            os.close(related)
        except PermissionError:  # the first user namespace has none around it
            found[kind] = 0
        finally:
            os.close(descriptor)
    return found


def status(pid: int) -> dict[str, str]:
    """The fields of proc_pid_status(5)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))


def mounts(pid: int) -> list[MountLine]:
    """The mounts of a process, proc_pid_mountinfo(5), sorted."""
    found = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, _, point, options, *tags = before.split(" ")
        plain = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point)
        names = [tag.partition(":")[0] for tag in tags]
        read_only = "ro" in options.split(",")
        kind = after.split(" ")[0]
        found.append(MountLine(plain, kind, read_only, "shared" in names, "master" in names))
    return sorted(found, key=str)


def addresses(pid: int) -> tuple[set[Any], set[Any]]:
    """What is local in a process's network: IPv4 and IPv6 networks. Of IPv6 only what is ready."""
    v4 = set()
    leaf = ""
    for line in Path(f"/proc/{pid}/net/fib_trie").read_text().splitlines():
        words = line.split()
        if words[0] == "|--":
            leaf = words[1]
        elif words[1:] == ["host", "LOCAL"]:
            v4.add(ipaddress.ip_network(leaf + words[0]))
    v6 = set()
    for line in Path(f"/proc/{pid}/net/if_inet6").read_text().splitlines():
        digits, _, prefix, _, flags, name = line.split()
        if name == "lo" and not int(flags, 16) & 0x4C:  # IFA_F_DADFAILED, _OPTIMISTIC, _TENTATIVE
            address = ipaddress.IPv6Address(int(digits, 16))
            v6.add(ipaddress.ip_interface(f"{address}/{int(prefix, 16)}"))
    return v4, v6


def interfaces(pid: int) -> list[str]:
    """The names of the interfaces of a process's network."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return sorted(line.partition(":")[0].strip() for line in lines)


def clocks(pid: int) -> dict[str, int]:
    """What a process's time namespace adds to the clocks, in nanoseconds."""
    found = {}
    for line in Path(f"/proc/{pid}/timens_offsets").read_text().splitlines():
        name, seconds, nanoseconds = line.split()
        found[name] = int(seconds) * 10**9 + int(nanoseconds)
    return found


def hostname(pid: int) -> str:
    """The name of the machine that a process sees."""
    command = ["nsenter", f"--uts=/proc/{pid}/ns/uts", "uname", "--nodename"]
    return subprocess.check_output(command, text=True).strip()


def proc_of(pid: int, inner: str) -> str:
    """Which PID namespace a process's /proc shows: own, that of the suite; inside, its own."""
    proc = Path(f"/proc/{pid}/root/proc")
    try:
        os.readlink(proc / "self")  # for whom the reader is there
        return "own"
    except FileNotFoundError:
        return "inside" if {"1", inner} <= {*os.listdir(proc)} else "elsewhere"


def descriptors(pid: int) -> list[str]:
    """What a process has open beside its standard streams; libffi keeps a file of its own."""
    numbers = sorted(int(each) for each in os.listdir(f"/proc/{pid}/fd"))
    links = [os.readlink(f"/proc/{pid}/fd/{each}") for each in numbers if each > 2]
    return [each for each in links if "/libffi" not in each]
