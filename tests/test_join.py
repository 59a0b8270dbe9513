"""Namespaces that exist already: which are joined, in which order, and what is refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness import (
    FILES,
    Python,
    Session,
    User,
    namespace_inode,
    namespaces,
    require_root,
    require_tool,
)

REPORT = (
    "import os; print(*(os.stat('/proc/self/ns/' + n).st_ino for n in os.environ['N'].split()))"
)


@contextlib.contextmanager
def home(user: User, *options: str, within: str = "") -> Iterator[int]:
    """A process in namespaces that unshare(1) made for it.

    Args:
        user: whose process it is.
        options: those of unshare(1).
        within: a script to run before the process waits.

    Yields:
        Its process id; with --fork that of its parent, which is unshare(1) itself.
    """
    script = f"{within}\necho ready; exec cat"
    with user.popen(["unshare", *options, "sh", "-c", script]) as child:
        assert child.stdin and child.stdout and child.stderr
        if child.stdout.readline() != "ready\n":
            raise AssertionError(child.stderr.read())
        yield child.pid


def paths(pid: int, names: Sequence[str]) -> str:
    """A list that joins these namespaces of a process."""
    return ",".join(f"{name}=/proc/{pid}/ns/{FILES[name]}" for name in names)


def inodes(python: Python, listing: str, names: Sequence[str], **options: bool) -> list[int]:
    """What the program says that it is in."""
    files = " ".join(FILES[name] for name in names)
    return list(
        map(int, python.run(REPORT, unshare=listing, env={"N": files}, **options).ok().split())
    )


ALL = ["user", "net", "mount", "uts", "ipc", "cgroup", "time"]
OPTIONS = ["-U", "--map-root-user", "-n", "-m", "-u", "-i", "-C", "-T"]


def test_all_of_one_s_own(either: Python) -> None:
    with home(either.user, *OPTIONS) as pid:
        names = ALL[:-1]  # unshare -T is for the children to come, and there is none here
        own = [namespace_inode(pid, FILES[name]) for name in names]
        assert inodes(either, paths(pid, names), names) == own
        done = either.run("import unshare_boot as u; print(u.active())", unshare=paths(pid, names))
        assert done.ok() == f"{tuple(names)}\n"


def test_the_order_is_ours(newest: Python) -> None:
    """Whatever the order in the list, user comes first for somebody who needs its rights."""
    with home(newest.user, *OPTIONS) as pid:
        names = ["uts", "mount", "net", "user"]
        own = [namespace_inode(pid, FILES[name]) for name in names]
        assert inodes(newest, paths(pid, names), names) == own


def test_each_alone(newest: Python) -> None:
    with home(newest.user, *OPTIONS) as pid:
        for name in ALL[1:-1]:
            names = ["user", name]
            own = [namespace_inode(pid, FILES[each]) for each in names]
            assert inodes(newest, paths(pid, names), names) == own


def test_time(newest: Python) -> None:
    with newest.hold("user,time=+30d") as pid:
        code = "import time; print(time.monotonic() > 30 * 86400)"
        assert newest.run(code, unshare=paths(pid, ["user", "time"])).ok() == "True\n"


def test_pid(either: Python) -> None:
    """By the file of unshare(1), whose first child is the first process in there."""
    with home(either.user, "-U", "--map-root-user", "-p", "--fork", "--mount-proc") as pid:
        inside = f"/proc/{pid}/ns/pid_for_children"
        first = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        listing = f"{paths(first, ['user', 'mount'])},pid={inside}"
        code = "import os; print(os.stat('/proc/self/ns/pid').st_ino, os.getpid() < 9)"
        done = either.run(code, unshare=listing)
        assert done.ok() == f"{os.stat(inside).st_ino} True\n"


def test_a_kernel_that_does_not_tell_the_type(newest: Python) -> None:
    """A 64-bit Linux before 6.12 has no ioctl_ns(2) for 32-bit programs."""
    strace = [require_tool("strace"), "-o", "/dev/null", "-e", "inject=ioctl:error=ENOTTY"]
    with home(newest.user, *OPTIONS) as pid:
        env = {"PY_UNSHARE": paths(pid, ["user", "net", "uts"]), "N": "user net uts"}
        done = newest.user.run([*strace, *newest.command(REPORT)], env=env)
        own = [namespace_inode(pid, name) for name in ("user", "net", "uts")]
        assert list(map(int, done.ok().split())) == own
        env["PY_UNSHARE"] = f"user=/proc/{pid}/ns/user,net=/proc/{pid}/ns/uts"
        done = newest.user.run([*strace, *newest.command(REPORT)], env=env)
        assert (done.status, done.stdout) == (125, "")
        assert "setns(" in done.stderr and "(EINVAL)" in done.stderr


def test_mounts_that_lack_this_package(newest: Python) -> None:
    """A container's: what a refusal, and the program, take of it has been loaded by then."""
    hide = f"mount -t tmpfs none {newest.site_packages}"
    with home(newest.user, "-U", "--map-root-user", "-m", within=hide) as pid:
        listing = paths(pid, ["user", "mount"])
        code = "import os, unshare_boot; print(os.listdir(os.environ['AT']), unshare_boot.active())"
        env = {"AT": str(newest.site_packages)}
        done = newest.run(code, unshare=listing, env=env)
        assert done.ok() == "[] ('user', 'mount')\n"
        for more in (",net=gate,record,addr=192.0.2.9/32,caps=none", ",net,sockets=unix"):
            done = newest.run(code, unshare=listing + more, env=env)
            assert done.ok().startswith("[] ('user', "), done
        hidden = newest.site_packages / "unshare_boot"
        env["PY_UNSHARE"] = listing
        done = newest.user.run(newest.command(code), env=env, cwd=hidden)
        assert (done.status, done.stdout) == (125, "")
        assert f"the working directory, '{hidden}', is not there" in done.stderr


def test_new_ones_beside_joined_ones(newest: Python) -> None:
    with home(newest.user, *OPTIONS) as pid:
        joined = namespace_inode(pid, "user")
        names = ["user", "net", "uts"]
        user, net, uts = inodes(newest, f"user=/proc/{pid}/ns/user,net,uts=inside", names)
        assert user == joined
        assert net not in (namespace_inode(pid, "net"), namespace_inode("self", "net"))
        assert uts not in (namespace_inode(pid, "uts"), namespace_inode("self", "uts"))
        done = newest.run(
            "import socket; print(socket.gethostname(), socket.if_nameindex())",
            unshare=f"user=/proc/{pid}/ns/user,net,uts=inside,time=-1",
        )
        assert done.ok() == "inside [(1, 'lo')]\n"


# Root.


def test_root_joins_what_a_user_made(newest: Python) -> None:
    require_root()
    with home(newest.user, *OPTIONS) as pid:
        names = ALL[:-1]
        own = [namespace_inode(pid, FILES[name]) for name in names]
        assert inodes(newest, paths(pid, names), names, as_root=True) == own
        # The user's namespace has no id for root: without one it could not even make a file.
        code = "import os; print(os.getresuid(), os.getresgid())"
        done = newest.run(code, unshare=paths(pid, ["user"]), as_root=True)
        assert done.ok() == "(0, 0, 0) (0, 0, 0)\n"


def test_root_makes_files_as_the_user_it_became(newest: Python, workdir: Path) -> None:
    require_root()
    with home(newest.user, "-U", "--map-root-user") as pid:
        code = "open('made', 'w')"
        newest.run(code, unshare=paths(pid, ["user"]), as_root=True, cwd=workdir).ok()
    status = (workdir / "made").stat()
    assert (status.st_uid, status.st_gid) == (newest.user.uid, newest.user.gid)


def test_user_comes_last_where_it_takes_rights_away(newest: Python) -> None:
    """The network namespace is root's; in the user's user namespace nobody may join it."""
    require_root()
    with home(newest.user, "-U", "--map-root-user") as user, home(newest.root, "-n") as net:
        listing = f"user=/proc/{user}/ns/user,net=/proc/{net}/ns/net"
        expected = [namespace_inode(user, "user"), namespace_inode(net, "net")]
        assert inodes(newest, listing, ["user", "net"], as_root=True) == expected


def test_joined_ones_come_before_a_new_user_namespace(newest: Python) -> None:
    require_root()
    with home(newest.root, "-n") as pid:
        user, net = inodes(newest, f"net=/proc/{pid}/ns/net,user", ["user", "net"], as_root=True)
        assert net == namespace_inode(pid, "net")
        assert user != namespace_inode("self", "user")


NETNS = """
    set -e
    mkdir -p /run/netns
    mount -t tmpfs x /run/netns  # ip(8) sets the directory up anew: nobody else sees these names
    ip netns add blue
    stat --dereference --format %i /run/netns/blue
    {}
"""


def test_ip_netns(either: Python) -> None:
    require_root()
    require_tool("ip")
    code = "import os; print(os.stat('/proc/self/ns/net').st_ino)"
    outer = ["unshare", "--mount", "sh", "-c", NETNS.format('exec "$@"'), "sh"]
    done = either.root.run(
        [*outer, *either.command(code)], env={"PY_UNSHARE": "net=/run/netns/blue"}
    )
    expected, inside = done.ok().split()
    assert expected == inside


def test_ip_netns_is_root_s(newest: Python) -> None:
    require_root()
    require_tool("ip")
    user = newest.user
    drop = f'exec setpriv --reuid {user.uid} --regid {user.gid} --clear-groups "$@"'
    outer = ["unshare", "--mount", "sh", "-c", NETNS.format(drop), "sh"]
    done = newest.root.run(
        [*outer, *newest.command("print('user code')")],
        env={"PY_UNSHARE": "user,net=/run/netns/blue"},
    )
    assert done.status == 125 and "user code" not in done.stdout
    assert "only root there may join" in done.stderr


def test_a_name_that_ip_netns_has_deleted(newest: Python) -> None:
    require_root()
    require_tool("ip")
    outer = ["unshare", "--mount", "sh", "-c", NETNS.format('ip netns delete blue; exec "$@"')]
    done = newest.root.run(
        [*outer, "sh", *newest.command("print('user code')")],
        env={"PY_UNSHARE": "net=/run/netns/blue"},
    )
    assert done.status == 125 and "user code" not in done.stdout
    assert "net='/run/netns/blue': open(/run/netns/blue): No such file" in done.stderr


def test_namespaces_kept_in_files(newest: Python, workdir: Path) -> None:
    """As `unshare --net=FILE` keeps them."""
    require_root()
    script = """
        set -e
        touch net uts
        unshare --net="$PWD/net" --uts="$PWD/uts" hostname kept
        exec "$@"
    """
    code = "import socket; print(socket.gethostname(), socket.if_nameindex())"
    outer = ["unshare", "--mount", "sh", "-c", script, "sh", *newest.command(code)]
    listing = f"net={workdir}/net,uts={workdir}/uts"
    done = newest.root.run(outer, env={"PY_UNSHARE": listing}, cwd=workdir)
    assert done.ok() == "kept [(1, 'lo')]\n"
    # The mounts have gone with that mount namespace: what is left are plain files.
    done = newest.run("print('user code')", unshare=listing, as_root=True)
    assert (done.status, done.stdout) == (125, "")
    assert "not a namespace but an ordinary file" in done.stderr


# The working directory.


def test_the_working_directory_is_the_one_there(either: Python, workdir: Path) -> None:
    (workdir / "here").mkdir()
    script = f"mount -t tmpfs x {workdir} && mkdir {workdir}/here && touch {workdir}/here/there"
    with home(either.user, "-U", "--map-root-user", "-m", within=script) as pid:
        code = "import os; print(os.getcwd(), os.listdir())"
        listing = paths(pid, ["user", "mount"])
        done = either.run(code, unshare=listing, cwd=workdir / "here")
        assert done.ok() == f"{workdir}/here ['there']\n"
        (workdir / "elsewhere").mkdir()
        done = either.run(code, unshare=listing, cwd=workdir / "elsewhere")
        assert (done.status, done.stdout) == (125, "")
        assert f"the working directory, '{workdir}/elsewhere', is not there" in done.stderr


def test_a_foreign_proc_is_refused(newest: Python) -> None:
    options = ["-U", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    with home(newest.user, *options) as pid:
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        done = newest.run("print('user code')", unshare=paths(int(child), ["user", "mount"]))
        assert (done.status, done.stdout) == (125, "")
        assert "join pid=/proc/PID/ns/pid too" in done.stderr
        code = "import os; print(os.stat('/proc/self/ns/pid').st_ino)"
        done = newest.run(code, unshare=paths(int(child), ["user", "mount", "pid"]))
        assert done.ok() == f"{namespace_inode(child, 'pid')}\n"
        if os.getuid() == 0:  # root has the right to the mounts first, and /proc would be gone
            listing = paths(int(child), ["user", "mount", "pid"])
            assert newest.run(code, unshare=listing, as_root=True).ok() == done.stdout


# Refusals.


@pytest.mark.parametrize(
    ("listing", "said"),
    [
        ("net=/proc/self/ns/uts", "a namespace of the type uts, not net"),
        ("user=/proc/self/ns/mnt", "a namespace of the type mount, not user"),
        ("time=/proc/self/ns/pid", "a namespace of the type pid, not time"),
        ("net=/etc/passwd", "not a namespace but an ordinary file"),
        ("net=/etc", "not a namespace but a directory"),
        ("net=/dev/null", "not a namespace but something else"),
        ("net=/proc/self/status", "not a namespace but an ordinary file"),
        ("ipc=/nowhere/at all", "ipc='/nowhere/at all': open(/nowhere/at all): No such file"),
        ("net=/proc/1/ns/net", "Permission denied"),
        ("net=/proc/self/ns/net", "only root there may join"),
    ],
)
def test_what_is_no_such_namespace(newest: Python, listing: str, said: str) -> None:
    done = newest.run("print('user code')", unshare=listing)
    assert (done.status, done.stdout) == (125, "")
    assert said in done.stderr
    assert listing.partition("=")[0] + "='" in done.stderr


def test_a_fifo_is_not_waited_for(newest: Python, workdir: Path) -> None:
    os.mkfifo(workdir / "fifo")
    done = newest.run("print('user code')", unshare=f"net={workdir}/fifo", timeout=20)
    assert done.status == 125 and "not a namespace but something else" in done.stderr


def test_all_paths_are_looked_at_before_anything_changes(newest: Python) -> None:
    code = """
import os, unshare_boot
before = os.stat("/proc/self/ns/net").st_ino, os.getuid()
try:
    unshare_boot.unshare(os.environ["LIST"])
except unshare_boot.UnshareError as error:
    print(error)
print((os.stat("/proc/self/ns/net").st_ino, os.getuid()) == before)
"""
    with home(newest.user, *OPTIONS) as pid:
        listing = f"{paths(pid, ['user', 'net', 'uts'])},ipc=/proc/self/ns/net"
        done = newest.run(code, env={"LIST": listing})
    assert done.ok().splitlines()[1:] == ["True"]
    assert "a namespace of the type net, not ipc" in done.stdout


def test_the_refusal_says_which_user_namespace_to_join(newest: Python) -> None:
    with home(newest.user, "-U", "--map-root-user", "-n") as pid:
        done = newest.run("print('user code')", unshare=f"net=/proc/{pid}/ns/net")
        assert (done.status, done.stdout) == (125, "")
        cure = f"user=/proc/{pid}/ns/user"
        assert cure in done.stderr
        code = "import os; print(os.getuid())"
        assert newest.run(code, unshare=f"{cure},net=/proc/{pid}/ns/net").ok() == "0\n"


def test_one_s_own_user_namespace_is_joined_already(newest: Python) -> None:
    code = "import os; print(os.getuid())"
    assert newest.run(code, unshare="user=/proc/self/ns/user").ok() == f"{newest.user.uid}\n"


@pytest.mark.parametrize("as_root", [False, True])
def test_the_program_stays_dumpable(newest: Python, as_root: bool) -> None:
    """Else gdb(1), py-spy and all that looks into /proc from outside would find it root's."""
    code = """
import ctypes, os
child = os.fork()
if child == 0:
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), len(os.listdir(f"/proc/{os.getppid()}/fd")) > 2)
    os._exit(0)
os.waitpid(child, 0)
"""
    with home(newest.user, *OPTIONS) as pid:
        done = newest.run(["-u", "-c", code], unshare=paths(pid, ["user"]), as_root=as_root)
        assert done.ok() == "1 True\n"


def test_threads_before_the_start(newest: Python, session: Session, workdir: Path) -> None:
    """The kernel would let the one thread in that asks: the process begins anew without them."""
    require_root()
    python = session.fresh(session.variant(newest), workdir / "venv")
    text = "import threading as t; t.Thread(target=t.Event().wait, daemon=True).start()\n"
    (python.site_packages / "a_thread.pth").write_text(text)
    code = """
import glob, os
print(*{os.stat(path).st_ino for path in glob.glob("/proc/self/task/*/ns/net")})
print(len(os.listdir("/proc/self/task")) > 1)
"""
    with home(newest.root, "-n") as pid:
        done = python.run(code, unshare=f"net=/proc/{pid}/ns/net", as_root=True)
        assert done.ok() == f"{namespace_inode(pid, 'net')}\nTrue\n"


def test_nothing_of_the_outside_is_changed(newest: Python) -> None:
    before = namespaces("self")
    with home(newest.user, *OPTIONS) as pid:
        inside = namespaces(pid)
        newest.run("", unshare=paths(pid, ALL[:-1])).ok()
        assert namespaces(pid) == inside
    assert namespaces("self") == before
