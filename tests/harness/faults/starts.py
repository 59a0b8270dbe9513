"""Starts of every kind, and what is right to come of one to which something happens."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import Finished, Python, Session, require_root, require_tool
from harness.faults.facts import CALLS, PROGRAM, differing, facts, near, tell
from harness.internet import internet
from harness.processes import Argument

# The hook is over when site.py gets to this file, which comes after ours.
LATER = "zzz_after_the_hook.pth"
OVER = "/this/is/where/the/hook/is/over"
# A thread that is there before the hook.
EARLY = "a_thread.pth"
THREAD = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"

# Programs that no process of ours waits for, and files that they need.
USERS = "passwd", "subuid", "subgid"


@dataclass(frozen=True)
class Start:
    """One way to start.

    Attributes:
        name: as in a test's id.
        unshare: the list.
        new: the kinds in /proc/self/ns of which the program has one of its own.
        differs: other facts in which it differs from a program outside, wherever that is.
        env: other variables.
        place: what the machine has to have: "", "held" (a process with namespaces to join, whose
            number takes the place of PID in the list), "users" (subordinate ids), "site" (a network
            with a way out), "thread" (one runs before the hook).
        as_root: whether root starts it.
        may_be_outside: whether it may start with nothing of the list, if it says so.
    """

    name: str
    unshare: str
    new: str
    differs: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    place: str = ""
    as_root: bool = False
    may_be_outside: bool = False


U = "ids maps status"  # what `user` comes with
WARN = {"PY_UNSHARE_ON_ERROR": "warn"}

STARTS = [
    Start("user", "user", "user", U),
    Start("current", "user=current", "user", "maps status"),
    Start("ids", "user=7:8", "user", U),
    Start("none", "user=none", "user", "ids maps status"),
    Start("setgroups", "user,setgroups=deny", "user", U),
    Start("net", "user,net", "user net", U),
    Start("down", "user,net=down", "user net", f"{U} addresses"),
    Start("addr", "user,net,addr=10.0.0.1/8", "user net", f"{U} addresses"),
    Start("mount", "user,net,mount", "user net mnt", U),
    Start("slave", "user,mount=slave", "user mnt", U),
    Start("shared", "user,mount=shared", "user mnt", f"{U} mounts"),
    Start("unchanged", "user,mount=unchanged", "user mnt", U),
    Start("uts", "user,uts=inside", "user uts", f"{U} hostname"),
    Start("ipc", "user,ipc", "user ipc", U),
    Start("cgroup", "user,cgroup", "user cgroup", U),
    Start("time", "user,time=+1d", "user time", f"{U} clocks"),
    Start("clocks", "user,monotonic=+2h,boottime=+1d", "user time", f"{U} clocks"),
    Start("pid", "user,pid", "user mnt pid", f"{U} mounts two"),
    Start("keep", "user,pid,proc=keep", "user pid", f"{U} two"),
    Start("sys", "user,net,sys", "user net mnt", f"{U} mounts"),
    Start("proc", "user,pid,proc=fresh", "user mnt pid", f"{U} mounts two"),
    Start("tmpfs", "user,tmpfs=a", "user mnt", f"{U} mounts files"),
    Start("bind", "user,bind=a:b", "user mnt", f"{U} mounts files"),
    Start("ro", "user,ro=a", "user mnt", f"{U} mounts write"),
    Start("overlay", "user,overlay=a", "user mnt", f"{U} mounts"),
    Start("caps-keep", "user,caps=keep", "user", U),
    Start("caps-none", "user,caps=none", "user", U),
    Start("sockets", "sockets=unix", "", "addresses"),
    Start("sockets-net", "user,net,sockets=unix", "user net", f"{U} addresses"),
    Start("alternatives", "net|user,net", "user net", U),
    Start(
        "seven",
        "user,net,mount,uts=inside,ipc,cgroup,time=+1d",
        "user net mnt uts ipc cgroup time",
        f"{U} hostname clocks",
    ),
    Start(
        "whole",
        "user,net,uts=inside,ipc,cgroup,time=+1d,pid,tmpfs=a,ro=b,caps=none",
        "user net mnt uts ipc cgroup time pid",
        f"{U} hostname clocks mounts files write two",
    ),
    Start("nested", "user,net", "user net", U, {"PY_UNSHARE_ACTIVE": ""}),
    Start("only", "user,net", "user net", U, {"PY_UNSHARE_ONLY": "-c"}),
    Start("verbose", "user,uts=inside", "user uts", f"{U} hostname", {"PY_UNSHARE_VERBOSE": "1"}),
    Start("warn", "user,net", "user net", U, WARN, may_be_outside=True),
    Start(
        "warn-pid",
        "user,net,pid",
        "user net mnt pid",
        f"{U} mounts two",
        WARN,
        may_be_outside=True,
    ),
    Start("called", "user,net", "user net", U, may_be_outside=True),
    Start("thread", "user,net", "user net", U, place="thread"),
    Start("auto", "user=auto", "user", U, place="users"),
    Start("join", "user=/proc/PID/ns/user,net=/proc/PID/ns/net", "", place="held"),
    Start(
        "join-all",
        "user=/proc/PID/ns/user,mount=/proc/PID/ns/mnt,pid=/proc/PID/ns/pid",
        "",
        place="held",
    ),
    Start(
        "pasta",
        "user,net=pasta,mount,publish=8080:80",
        "user net mnt",
        U,
        place="site",
    ),
    Start(
        "slirp4netns",
        "user,net=slirp4netns,mount,publish=8080:80,publish=8081:81/udp",
        "user net mnt",
        U,
        place="site",
    ),
    Start(
        "gate",
        "user,net=gate,allow=server.example.test:80,record=told",
        "user net",
        f"{U} interfaces",
        place="gate",
    ),
    Start(
        "root-net",
        "net,mount,uts=inside",
        "net mnt uts",
        "hostname",
        as_root=True,
    ),
    Start("root-pid", "pid", "mnt pid", "mounts two", as_root=True),
    Start("root-map", "user=7:8,map-users=100:100:5,map-groups=100:100:5", "user", U, as_root=True),
    Start("root-all", "user=all,overlay=a", "user mnt", "mounts status", as_root=True),
]


@dataclass(frozen=True)
class Setting:
    """A start, with all that it depends on made.

    Attributes:
        start: which.
        python: an environment with LATER in it.
        unshare: the list; None where the program has it among its arguments.
        workdir: where the program starts; `a` and `b` are directories there.
        arguments: of the interpreter.
        env: other variables.
        wrapper: a command of root's to run it by, which ends in an execve(2) of what follows.
        joined: a process whose namespaces are joined, or 0.
        stragglers: waits for the helpers of earlier starts to end; returns those that do not.
    """

    start: Start
    python: Python
    unshare: str | None
    workdir: Path
    arguments: Sequence[Argument]
    env: Mapping[str, str]
    wrapper: Sequence[Argument]
    joined: int = 0
    stragglers: Callable[[], Sequence[int]] = tuple

    @property
    def who(self) -> tuple[int, int]:
        """The uid and gid of the program, outside."""
        user = self.python.root if self.start.as_root else self.python.user
        return user.uid, user.gid

    @property
    def change(self) -> list[Argument]:
        """The command that makes root the one who starts the program."""
        uid, gid = self.who
        return [require_tool("setpriv"), f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]

    def run(
        self, *tool: Argument, before: Sequence[Argument] = (), timeout: float = 60, **options: Any
    ) -> Finished:
        """Start it.

        Args:
            tool: a program to run it by, which changes to the user itself where root runs it.
            before: a program that runs as the user.
            timeout: seconds.
            options: as for User.run().
        """
        left = self.stragglers()  # who may still have a port that is to be published
        assert not left, f"left over: {left}"
        if self.wrapper and not tool:
            tool = tuple(self.change)
        starter = self.python.root if self.start.as_root else self.python.user
        if tool and os.getuid() == 0:
            starter = self.python.root
        listed = {} if self.unshare is None else {"PY_UNSHARE": self.unshare}
        temporary = str(self.workdir / "tmp")
        fixed = {"HOME": str(self.python.user.home), "TMPDIR": temporary, "PYTHONHASHSEED": "0"}
        command = [*self.wrapper, *tool, *before, self.python.executable, *self.arguments]
        env = {**fixed, **self.env, **listed}
        return starter.run(command, env=env, cwd=self.workdir, timeout=timeout, **options)

    def outside(self) -> Setting:
        """The same with nothing of the list."""
        if self.start.name == "called":
            return replace(self, arguments=(*self.arguments[:2], "off"))
        return replace(self, unshare="off")


class Judge:
    """Knows what a program finds with the whole list in force, and with nothing of it."""

    def __init__(self, setting: Setting, *, filtered: bool = False) -> None:
        """Start it twice, and once outside; what is found has to be what the start says.

        Args:
            setting: what to start.
            filtered: the starts to judge have a seccomp(2) filter, for which whoever is not root
                has to give up new privileges.
        """
        self.start = setting.start
        self._blind = {"NoNewPrivs"} if filtered and os.getuid() != 0 else set()
        # Where the wrapper makes a mount namespace, each start has another.
        self._apart = {"mnt"} if "--mount" in setting.wrapper else set()
        outside = setting.outside().run()
        outside.ok()
        self._near = near(tell(outside)["namespaces"], setting.joined)
        self._outside = self.facts(outside)
        self._inside = self.facts(_run_well(setting))
        again = self.facts(_run_well(setting))
        assert again == self._inside, differing(again, self._inside)
        kinds = self._inside["namespaces"]
        if setting.joined:
            wanted = {item.rpartition("/")[2] for item in setting.start.unshare.split(",")}
            assert {kinds[kind] for kind in wanted - self._apart} == {"joined"}
        else:
            new = {kind for kind in kinds if kinds[kind] == "new" and "_" not in kind}
            assert new == {*setting.start.new.split()} - self._apart, (setting.start.name, new)
            same = set(setting.start.differs.split()) - differing(self._inside, self._outside)
            assert not same, (setting.start.name, same)

    def facts(self, done: Finished) -> dict[str, Any]:
        found = facts(done, self._near)
        for kind in self._apart:
            found["namespaces"].pop(kind, None)
        for name in self._blind:
            del found["status"][name]
        if self.start.place == "thread":  # which may not start where there can be few
            del found["status"]["Threads"], found["status"]["SigCgt"]
        return found

    def outcome(self, done: Finished, streams: bool = False) -> str:
        """What came of a start.

        Args:
            done: the start.
            streams: that some of the standard streams are closed is no difference.

        Returns:
            "refused" with our message, "stopped" otherwise, "isolated" with the whole list in
            force, "outside" with nothing of it where that may be; else a word with "WRONG" in it.
        """
        if not done.stdout:
            if done.status == 0:
                return "WRONG: ended well without a word"
            ours = done.status == 125 and "unshare-boot: " in done.stderr
            return "refused" if ours else "stopped"
        try:
            found = self.facts(done)
        except (ValueError, SyntaxError):
            return "WRONG: half a sentence"
        outside = found["namespaces"] == self._outside["namespaces"]
        if outside and (self.start.new or not differing(found, self._outside)):
            kind, like = "outside", self._outside
        else:
            kind, like = "isolated", self._inside
        differ = differing(found, like)
        if streams:
            differ.discard("descriptors")
        if self.start.place in ("site", "gate"):  # whose interface goes when the helper does
            differ.discard("interfaces")
        if differ:
            some = {name: (found.get(name), like.get(name)) for name in differ}
            return f"WRONG: {kind}, but for {some}"
        if kind == "outside":
            if not self.start.may_be_outside:
                return "WRONG: started un-isolated"
            said = "unshare-boot: " in done.stderr
            return "outside" if said else "WRONG: started un-isolated, in silence"
        return kind


_PORT_IN_USE = "EADDRINUSE|it is free now|hostfwd failed"  # the last is slirp4netns's own word


def _run_well(setting: Setting) -> Finished:
    """Start it; the kernel may need a moment more to let go of a port than of who had it."""
    end = time.monotonic() + 30
    while (done := setting.run()).status == 125 and re.search(_PORT_IN_USE, done.stderr):
        if time.monotonic() > end:
            break
    done.ok()
    return done


def available(start: Start) -> None:
    """Skip a test of a start that cannot be had here, or fail it where CI is set."""
    if start.as_root or start.place in ("users", "site"):
        require_root()
    if start.place == "users":
        require_tool("newuidmap")
    if start.place == "site":
        require_tool(re.findall("net=(\\w+)", start.unshare)[0])


@contextlib.contextmanager
def prepared(
    start: Start, python: Python, session: Session, env: Mapping[str, str]
) -> Iterator[Setting]:
    """Make all that a start depends on.

    Args:
        start: which.
        python: on what.
        session: where environments are made.
        env: more variables.
    """
    available(start)
    workdir = session.make_workdir()
    for name in ("a", "b"):
        (workdir / name).mkdir()
        (workdir / name / f"in-{name}").touch()
    (workdir / "tmp").mkdir()
    session.give(workdir)
    if start.as_root:  # whose user namespace has no power over the files of others
        for path in (workdir, *workdir.rglob("*")):
            os.chown(path, 0, 0)
    with contextlib.ExitStack() as stack:
        wrapper: Sequence[Argument] = ()
        joined = 0
        stragglers: Callable[[], Sequence[int]] = tuple
        if start.place == "users":
            wrapper = _with_users(python, session.make_workdir())
        elif start.place == "site":
            site = stack.enter_context(internet(session.make_workdir()))
            wrapper, stragglers = site.enter(), site.wait_until_left
        elif start.place == "held":
            joined = stack.enter_context(_held(python))
        listed = start.unshare.replace("PID", str(joined))
        arguments: tuple[Argument, ...] = ("-c", PROGRAM)
        if start.name == "called":
            arguments = ("-c", CALLS, listed)
        yield Setting(
            start,
            _environment(python, session, start.place),
            None if start.name == "called" else listed,
            workdir,
            arguments,
            {**start.env, **env},
            wrapper,
            joined,
            stragglers,
        )


def _environment(python: Python, session: Session, place: str) -> Python:
    """An environment in which the end of the hook can be seen."""
    kind = "threaded" if place == "thread" else "ended"
    directory = session.directory / "proof" / kind / python.name

    def make() -> None:
        made = session.fresh(session.variant(python), directory)
        (made.site_packages / LATER).write_text(f"import os; os.access({OVER!r}, os.F_OK)\n")
        if place == "thread":
            (made.site_packages / EARLY).write_text(THREAD)

    session.once(f"proof-{kind}-{python.name}", make)
    return replace(python, venv=directory)


def _with_users(python: Python, directory: Path) -> list[Argument]:
    """A command after which the user has a name and subordinate ids."""
    uid, gid = python.user.uid, python.user.gid
    (directory / "passwd").write_text(f"root:x:0:0::/:/bin/sh\ntess:x:{uid}:{gid}::/:/bin/sh\n")
    for name in ("subuid", "subgid"):
        (directory / name).write_text("tess:100000:10\n")
    script = "".join(f"mount --bind {directory}/{name} /etc/{name} && " for name in USERS)
    return [require_tool("unshare"), "--mount", "sh", "-c", f'{script} exec "$@"', "sh"]


@contextlib.contextmanager
def _held(python: Python) -> Iterator[int]:
    """A process of the user's in namespaces that can be joined."""
    # Its init reaps what starts that were killed have left to it.
    code = (
        "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        "print('ready', flush=True); sys.stdin.read()"
    )
    command = ["unshare", "-Urnmpf", "--mount-proc", *python.command(code)]
    pipe = subprocess.PIPE
    with python.user.popen(command, stdin=pipe, stdout=pipe) as child:
        assert child.stdin and child.stdout and child.stdout.readline() == "ready\n"
        (inner,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        yield int(inner)
