"""What each namespace does for a program, and what it keeps from it."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import (
    FILES,
    Python,
    User,
    id_map,
    namespace_inode,
    namespaces,
    own_shared_mounts,
    require_tool,
)

DAY = 86400


def moved(pid: int) -> set[str]:
    """The namespaces that a process does not share with the tests."""
    inside, outside = namespaces(pid), namespaces("self")
    return {kind for kind in outside if inside[kind] != outside[kind]} - {"time_for_children"}


@pytest.mark.parametrize("item", ["net", "mount", "uts", "ipc", "cgroup", "time"])
def test_one_namespace_is_entered_and_no_other(python: Python, item: str) -> None:
    with python.hold(f"user,{item}") as pid:
        assert moved(pid) == {"user", FILES[item]}


def test_all_at_once_in_any_order(python: Python) -> None:
    """The fixed order is what makes it possible: without user first, nothing is allowed."""
    with python.hold("time=+1d, cgroup,ipc ,uts=x,mount,net,user") as pid:
        assert moved(pid) == {"user", "net", "mnt", "uts", "ipc", "cgroup", "time"}
        for kind in ("time", "pid"):
            assert namespace_inode(pid, kind) == namespace_inode(pid, f"{kind}_for_children")


def test_the_process_stays_the_same(python: Python) -> None:
    """No fork, no exec: whoever started the interpreter waits for the right process."""
    with python.popen("import os; print(os.getpid(), os.getppid())", unshare="user,net") as child:
        assert child.stdout is not None
        assert child.stdout.read() == f"{child.pid} {os.getpid()}\n"


def test_the_variable_is_consumed(python: Python) -> None:
    code = """if True:
        import os
        inode = lambda kind: os.stat('/proc/self/ns/' + kind).st_ino
        told = f"user={inode('user')},mount={inode('mnt')}"
        print('PY_UNSHARE' in os.environ, os.environ['PY_UNSHARE_ACTIVE'] == told)
        print(b'PY_UNSHARE' in os.environb, os.system('test -z "${PY_UNSHARE+set}"'))
    """
    assert python.run(code, unshare="mount,user").ok() == "False True\nFalse 0\n"


@pytest.mark.parametrize("unshare", ["", "0", "off", "no", "false", " OFF "])
def test_off(python: Python, unshare: str) -> None:
    with python.hold(unshare) as pid:
        assert moved(pid) == set()


# user


def test_user_root(python: Python) -> None:
    uid, gid = python.user.uid, python.user.gid
    with python.hold("user") as pid:
        assert id_map(pid, "uid") == [(0, uid, 1)]
        assert id_map(pid, "gid") == [(0, gid, 1)]
        assert Path(f"/proc/{pid}/setgroups").read_text() == "deny\n"
    code = "import os; print(os.getresuid(), os.getresgid())"
    assert python.run(code, unshare="user=root").ok() == "(0, 0, 0) (0, 0, 0)\n"


def test_user_current(python: Python) -> None:
    uid, gid = python.user.uid, python.user.gid
    with python.hold("user=current,net") as pid:
        assert id_map(pid, "uid") == [(uid, uid, 1)]
        assert id_map(pid, "gid") == [(gid, gid, 1)]
        assert Path(f"/proc/{pid}/setgroups").read_text() == "deny\n"
    code = "import os; print(os.getuid(), os.getgid())"
    assert python.run(code, unshare="user=current").ok() == f"{uid} {gid}\n"


def test_user_gives_no_power_over_what_is_others(python: Python) -> None:
    code = "import os; os.setgroups([])"
    done = python.run(code, unshare="user")
    assert done.status == 1 and "PermissionError" in done.stderr
    code = "import os; print(os.access('/etc/shadow', os.R_OK), os.stat('/').st_uid)"
    assert python.run(code, unshare="user").ok() == "False 65534\n"


def test_files_made_inside_belong_to_the_user_outside(python: Python, workdir: Path) -> None:
    python.run("open('made', 'w').close()", unshare="user,mount", cwd=workdir).ok()
    assert (workdir / "made").stat().st_uid == python.user.uid


@pytest.mark.parametrize("item", ["net", "mount", "uts=x", "ipc", "cgroup", "time=+1d"])
def test_root_can_do_without_user(newest: Python, oldest: Python, item: str) -> None:
    for python in (oldest, newest):
        with python.hold(item, as_root=True) as pid:
            name = item.partition("=")[0]
            assert moved(pid) == {FILES[name]}


def test_root_with_user(newest: Python) -> None:
    with newest.hold("user,net,mount", as_root=True) as pid:
        assert moved(pid) == {"user", "net", "mnt"}
        assert id_map(pid, "uid") == [(0, 0, 1)]


# net

LOOPBACK = """
import socket
print(socket.if_nameindex())
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    with socket.create_server((address, 80), family=family) as server:
        with socket.create_connection((address, 80)) as client:
            peer, _ = server.accept()
            client.sendall(b"hello")
            print(peer.recv(5).decode(), peer.getpeername()[0])
            peer.close()
"""


def test_loopback_and_a_privileged_port(python: Python) -> None:
    told = "[(1, 'lo')]\nhello 127.0.0.1\nhello ::1\n"
    assert python.run(LOOPBACK, unshare="user,net").ok() == told
    assert python.run(LOOPBACK, unshare="user=current,net=lo,mount").ok() == told


def test_two_programs_have_the_same_port(newest: Python) -> None:
    code = """if True:
        import socket, sys
        server = socket.create_server(("127.0.0.1", 80))
        print("listening", flush=True)
        sys.stdin.read()
    """
    with (
        newest.popen(code, unshare="user,net") as one,
        newest.popen(code, unshare="user,net") as other,
    ):
        for child in (one, other):
            assert child.stdout and child.stdout.readline() == "listening\n"


def test_loopback_stays_down(python: Python) -> None:
    code = """if True:
        import errno, socket
        try:
            socket.create_connection(("127.0.0.1", 1))
        except OSError as error:
            print(errno.errorcode[error.errno], socket.if_nameindex())
    """
    assert python.run(code, unshare="user,net=down").ok() == "ENETUNREACH [(1, 'lo')]\n"
    assert python.run(code, unshare="user,net").ok() == "ECONNREFUSED [(1, 'lo')]\n"


def test_nothing_outside_can_be_reached(python: Python) -> None:
    """ENETUNREACH, not ETIMEDOUT: nobody waits."""
    code = """if True:
        import errno, socket
        addresses = ["192.0.2.1", "8.8.8.8", "10.0.0.1", "2001:db8::1", "2620:fe::fe"]
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                try:
                    socket.socket(family, kind).connect((address, 53))
                    print(address, "reached")
                except OSError as error:
                    print(errno.errorcode[error.errno])
        try:
            print(socket.getaddrinfo("example.org", 80))
        except socket.gaierror as error:
            print("no name")
    """
    told = python.run(code, unshare="user,net", timeout=30).ok().split("\n")
    assert told == 10 * ["ENETUNREACH"] + ["no name", ""]


@contextlib.contextmanager
def web_server(directory: Path) -> Iterator[int]:
    """Serve a directory on the outer 127.0.0.1; yields the port."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = partial(Handler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_subprocesses_cannot_reach_a_server_outside(
    python: Python, user: User, workdir: Path
) -> None:
    curl, git = require_tool("curl"), require_tool("git")
    (workdir / "page").write_text("from outside")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (
        ["init", "--quiet", "repo"],
        ["-C", "repo", *author, "commit", "--quiet", "--allow-empty", "-m", "first"],
        ["-C", "repo", "update-server-info"],
    ):
        user.run([git, *command], cwd=workdir).ok()
    code = """if True:
        import subprocess, sys
        for command in (sys.argv[1:6], sys.argv[6:9]):
            done = subprocess.run(command, capture_output=True, text=True)
            print(done.returncode, done.stdout, done.stderr)
    """
    with web_server(workdir) as port:
        base = f"http://127.0.0.1:{port}"
        programs = [curl, "-sS", "--noproxy", "*", f"{base}/page"]
        programs += [git, "ls-remote", f"{base}/repo/.git"]
        done = python.run(["-c", code, *programs])
        assert "0 from outside" in done.ok() and "refs/heads/" in done.stdout
        done = python.run(["-c", code, *programs], unshare="user,net")
        assert done.ok().startswith("7 ") and "\n128 " in done.stdout
        assert "from outside" not in done.stdout and "refs/heads/" not in done.stdout


def test_abstract_unix_sockets_belong_to_the_network(newest: Python) -> None:
    name = f"unshare-boot-{os.getpid()}"
    code = f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        assert newest.run(code).status == 0
        assert "ConnectionRefusedError" in newest.run(code, unshare="user,net").stderr


# mount

MOUNTER = """
import os, sys
import unshare_boot
unshare_boot.bind_mount("source", "target")
print(os.listdir("target"), flush=True)
sys.stdin.read()
"""


def test_a_mount_made_inside_is_not_seen_outside(python: Python, workdir: Path) -> None:
    make_directories(python.user, workdir)
    with python.popen(MOUNTER, unshare="user,mount", cwd=workdir) as child:
        assert child.stdout and child.stdout.readline() == "['here']\n"
        assert os.listdir(workdir / "target") == []
        mounts = Path(f"/proc/{child.pid}/mountinfo").read_text()
        assert f" {workdir / 'target'} " in mounts


def make_directories(user: User, workdir: Path) -> None:
    user.run(["mkdir", "-p", "source", "target", "late"], cwd=workdir).ok()
    user.run(["touch", "source/here"], cwd=workdir).ok()


class Host:
    """A mount namespace whose mounts are all shared, as systemd makes those of a machine."""

    def __init__(self, python: Python, pid: int) -> None:
        self.python = python
        self.enter = [require_tool("nsenter"), "--mount", "--target", str(pid), "--"]

    def run(self, *command: str | Path) -> str:
        return self.python.root.run([*self.enter, *command]).ok()

    @contextlib.contextmanager
    def python_inside(
        self, code: str, unshare: str, workdir: Path, as_root: bool
    ) -> Iterator[subprocess.Popen[str]]:
        user = self.python.root if as_root else self.python.user
        become = [require_tool("setpriv"), "--reuid", str(user.uid), "--regid", str(user.gid)]
        go = ["sh", "-c", f'cd {workdir} && exec "$@"', "sh"]
        command = [*self.enter, *become, "--clear-groups", *go, *self.python.command(code)]
        with self.python.root.popen(command, env={"PY_UNSHARE": unshare}) as child:
            yield child


@pytest.fixture(params=["oldest", "newest"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    python: Python = request.getfixturevalue(request.param)
    command = [*own_shared_mounts(), "sh", "-c", "echo ready && exec cat"]
    with python.root.popen(command) as child:
        assert child.stdout and child.stdout.readline() == "ready\n"
        yield Host(python, child.pid)


@pytest.mark.parametrize(
    ("unshare", "as_root", "seen"),
    [
        ("user,mount", False, False),
        ("user,mount=slave", False, False),
        ("user,mount=shared", False, False),
        ("user,mount=unchanged", False, False),
        ("mount", True, False),
        ("mount=slave", True, False),
        ("mount=shared", True, True),
        ("mount=unchanged", True, True),
    ],
)
def test_what_a_host_with_shared_mounts_sees(
    host: Host, workdir: Path, unshare: str, as_root: bool, seen: bool
) -> None:
    make_directories(host.python.user, workdir)
    with host.python_inside(MOUNTER, unshare, workdir, as_root) as child:
        assert child.stdout and child.stdout.readline() == "['here']\n"
        assert host.run("ls", workdir / "target") == ("here\n" if seen else "")


@pytest.mark.parametrize(
    ("unshare", "as_root", "seen"),
    [
        ("user,mount", False, False),
        ("user,mount=private", False, False),
        ("user,mount=slave", False, True),
        ("user,mount=shared", False, True),
        ("user,mount=unchanged", False, True),
        ("mount", True, False),
        ("mount=slave", True, True),
        ("mount=shared", True, True),
        ("mount=unchanged", True, True),
    ],
)
def test_what_is_seen_of_a_mount_that_the_host_makes_later(
    host: Host, workdir: Path, unshare: str, as_root: bool, seen: bool
) -> None:
    make_directories(host.python.user, workdir)
    code = "import os; print('ready', flush=True); input(); print(os.listdir('late'))"
    with host.python_inside(code, unshare, workdir, as_root) as child:
        assert child.stdin and child.stdout and child.stdout.readline() == "ready\n"
        host.run("mount", "--bind", workdir / "source", workdir / "late")
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == f"{['here'] if seen else []}\n"


# uts


def test_hostname(python: Python) -> None:
    outside = socket.gethostname()
    code = "import os, socket; print(socket.gethostname(), flush=True); os.system('uname -n')"
    told = python.run(code, unshare="user,uts=inside.example").ok()
    assert told == "inside.example\ninside.example\n"
    assert socket.gethostname() == outside


def test_hostname_stays_until_it_is_changed(python: Python) -> None:
    outside = socket.gethostname()
    code = """if True:
        import socket
        print(socket.gethostname())
        socket.sethostname("changed")
        print(socket.gethostname())
    """
    assert python.run(code, unshare="user,uts").ok() == f"{outside}\nchanged\n"
    assert socket.gethostname() == outside


# ipc


def test_shared_memory_is_not_shared(python: Python, user: User) -> None:
    number = user.run([require_tool("ipcmk"), "--shmem", "64"]).ok().split()[-1]
    try:
        code = "print(open('/proc/sysvipc/shm').read().count('\\n') - 1)"
        listed = (
            f"import subprocess; print(subprocess.run(['ipcs', '-m', '-i', '{number}']).returncode)"
        )
        assert int(python.run(code).ok()) >= 1
        assert python.run(code, unshare="user,ipc").ok() == "0\n"
        assert "bytes=64" in python.run(listed).ok()
        assert "bytes=64" not in python.run(listed, unshare="user,ipc").stdout
    finally:
        user.run([require_tool("ipcrm"), "--shmem-id", number]).ok()


# cgroup


def test_cgroup_shows_itself_as_the_root(python: Python) -> None:
    code = (
        "print({line.split(':', 2)[2] for line in open('/proc/self/cgroup').read().splitlines()})"
    )
    assert python.run(code, unshare="user,cgroup").ok() == "{'/'}\n"


# time

CLOCKS = """
import json, subprocess, sys, time
code = "import time; print(time.clock_gettime(time.CLOCK_MONOTONIC))"
print(json.dumps([
    time.clock_gettime(time.CLOCK_MONOTONIC),
    time.clock_gettime(time.CLOCK_BOOTTIME),
    float(subprocess.check_output([sys.executable, "-S", "-c", code])),
    time.time(),
]))
"""


@pytest.mark.parametrize(
    ("items", "monotonic", "boottime"),
    [
        ("time", 0, 0),
        ("time=+1d", DAY, DAY),
        ("time=+30d", 30 * DAY, 30 * DAY),
        ("monotonic=+1h", 3600, 0),
        ("boottime=+1h", 0, 3600),
        ("monotonic=+1d,boottime=+2d,time", DAY, 2 * DAY),
        ("time=-0.5", -0.5, -0.5),
        ("time=+0.25", 0.25, 0.25),
    ],
)
def test_clocks(python: Python, items: str, monotonic: float, boottime: float) -> None:
    before = clocks()
    inside = json.loads(python.run(CLOCKS, unshare=f"user,{items}").ok())
    after = clocks()
    for at, shift in ((0, monotonic), (1, boottime), (2, monotonic), (3, 0)):
        assert before[at] <= inside[at] - shift <= after[at]


def clocks() -> list[float]:
    monotonic = time.clock_gettime(time.CLOCK_MONOTONIC)
    return [monotonic, time.clock_gettime(time.CLOCK_BOOTTIME), monotonic, time.time()]
