"""What a program can ask, and do, from its own code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import Python, id_map, namespaces, require_root

TOLD = "import unshare_boot; print(*unshare_boot.active())"


# Importing


def test_importing_the_package_loads_nothing_else(python: Python) -> None:
    code = """if True:
        import sys
        print("unshare_boot" in sys.modules)
        before = set(sys.modules)
        import unshare_boot
        print(sorted((set(sys.modules) - before) | {"unshare_boot"}))
    """
    assert python.run(["-I", "-c", code]).ok() == "False\n['unshare_boot']\n"


DEAR = "typing re ctypes enum collections dataclasses functools contextlib subprocess socket signal"


@pytest.mark.parametrize("unshare", ["user,net", "user,net,mount", "user,uts=x,ipc,cgroup,time"])
def test_the_hook_loads_no_dear_module(python: Python, unshare: str) -> None:
    code = "import sys; print(*sorted(sys.modules))"
    bare = set(python.run(["-c", code]).ok().split())
    loaded = set(python.run(["-c", code], unshare=unshare).ok().split()) - bare
    assert loaded & {*DEAR.split(), "__future__"} == set()
    ours = {name for name in loaded if name.startswith("unshare_boot")}
    assert "unshare_boot.namespaces" in ours and len(ours) <= 4


def test_what_there_is(newest: Python) -> None:
    code = """if True:
        import unshare_boot
        print(all(getattr(unshare_boot, name).__doc__ for name in unshare_boot.__all__))
        print(issubclass(unshare_boot.UnshareError, OSError))
        try:
            unshare_boot.nothing
        except AttributeError as error:
            print(error)
        from unshare_boot import *
        print(active(), original_uid() > 0)
    """
    told = newest.run(code).ok()
    assert told == "True\nTrue\nmodule 'unshare_boot' has no attribute 'nothing'\n() True\n"


# active


def test_active(python: Python) -> None:
    assert python.run(TOLD).ok() == "\n"
    assert python.run(TOLD, unshare="off").ok() == "\n"
    assert python.run(TOLD, unshare="net,user").ok() == "user net\n"
    everything = "time,cgroup,ipc,uts,mount,net,user"
    assert python.run(TOLD, unshare=everything).ok() == "user net mount uts ipc cgroup time\n"


def test_active_in_a_child(newest: Python) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {TOLD!r}])"
    assert newest.run(code, unshare="user,net").ok() == "user net\n"


def test_a_forged_or_stale_variable_does_not_count(python: Python) -> None:
    outside = namespaces("self")
    for value in (
        f"user={outside['user']},net={outside['net']}",  # right, and isolated from nothing
        "user=1,net=2",
        "net=4026532177,user",
        "user,net",
        "=,,=net,net==,\udcff",
        "",
    ):
        assert python.run(TOLD, env={"PY_UNSHARE_ACTIVE": value}).ok() == "\n"
    with python.hold("user,net") as pid:  # somebody else's
        inside = namespaces(pid)
        value = f"user={inside['user']},net={inside['net']}"
        assert python.run(TOLD, env={"PY_UNSHARE_ACTIVE": value}).ok() == "\n"
    done = python.run(TOLD, unshare="user", env={"PY_UNSHARE_ACTIVE": "net=1,junk"})
    assert done.ok() == "user\n"


def test_active_where_a_part_was_left_again(newest: Python) -> None:
    code = (
        f"import subprocess, sys; subprocess.run(['unshare', '-n', sys.executable, '-c', {TOLD!r}])"
    )
    assert newest.run(code, unshare="user,net,ipc").ok() == "user ipc\n"


# original_uid, original_gid

IDS = """if True:
    import os, subprocess, sys, unshare_boot
    print(os.getuid(), unshare_boot.original_uid(), os.getgid(), unshare_boot.original_gid())
    sys.stdout.flush()
    if len(sys.argv) > 1:
        subprocess.run([sys.executable, "-c", sys.argv[1]])
"""


@pytest.mark.parametrize("unshare", [None, "user", "user=current,net", "user=none"])
def test_original_ids(python: Python, unshare: str | None) -> None:
    uid, gid = python.user.uid, python.user.gid
    inner = {None: (uid, gid), "user": (0, 0), "user=none": (65534, 65534)}
    inner_uid, inner_gid = inner.get(unshare, (uid, gid))
    line = f"{inner_uid} {uid} {inner_gid} {gid}\n"
    if unshare == "user=none":
        assert python.run(IDS, unshare=unshare).ok() == line
        done = python.run(["-c", IDS, IDS], unshare=unshare)
        assert done.stdout == line and "is not mapped" in done.stderr
    else:
        assert python.run(["-c", IDS, IDS], unshare=unshare).ok() == 2 * line


def test_original_ids_where_two_are_nested(newest: Python) -> None:
    code = f"""if True:
        import os, sys
        os.execve(sys.executable, [sys.executable, "-c", {IDS!r}],
            {{**os.environ, "PY_UNSHARE": "user=current"}})
    """
    assert newest.run(code, unshare="user").ok() == "0 0 0 0\n"
    assert newest.run(IDS, unshare="user", as_root=True).ok() == "0 0 0 0\n"


# write_user_map, write_group_map


def test_a_map_of_ones_own(python: Python) -> None:
    uid, gid = python.user.uid, python.user.gid
    code = f"""if True:
        import os, sys, unshare_boot
        unshare_boot.write_user_map({{{uid}: 7}})
        unshare_boot.write_group_map({{{gid}: 8}})
        print(os.getuid(), os.getgid(), unshare_boot.original_uid(), unshare_boot.original_gid())
        sys.stdout.flush()
        sys.stdin.read()
    """
    with python.popen(code, unshare="user=none,net") as child:
        assert child.stdout and child.stdout.readline() == f"7 8 {uid} {gid}\n"
        assert id_map(child.pid, "uid") == [(7, uid, 1)]
        assert id_map(child.pid, "gid") == [(8, gid, 1)]
        assert Path(f"/proc/{child.pid}/setgroups").read_text() == "deny\n"


def test_maps_that_are_refused(python: Python) -> None:
    uid = python.user.uid
    code = f"""if True:
        import errno, unshare_boot
        def refused(write, ids):
            try:
                write(ids)
            except unshare_boot.UnshareError as error:
                print(errno.errorcode[error.errno], error.call)
        refused(unshare_boot.write_user_map, {{0: 0}})
        refused(unshare_boot.write_user_map, {{{uid}: 0, 0: 1}})
        unshare_boot.write_user_map({{{uid}: 0}})
        refused(unshare_boot.write_user_map, {{{uid}: 1}})
    """
    told = python.run(code, unshare="user=none").ok()
    assert told == 3 * "EPERM write(/proc/self/uid_map)\n"


# bind_mount


def test_bind_mount(python: Python, workdir: Path) -> None:
    python.user.run(["mkdir", "source", "target"], cwd=workdir).ok()
    code = """if True:
        import errno, pathlib, unshare_boot
        unshare_boot.bind_mount("source", pathlib.Path("target"))
        open("target/written", "w").close()
        unshare_boot.bind_mount(pathlib.Path("source"), "target", read_only=True)
        for place in ("target/more", "source/more"):
            try:
                open(place, "w").close()
                print(place)
            except OSError as error:
                print(errno.errorcode[error.errno])
        try:
            unshare_boot.bind_mount("missing", "target")
        except unshare_boot.UnshareError as error:
            print(error)
    """
    told = python.run(code, unshare="user,mount", cwd=workdir).ok()
    assert told.splitlines() == [
        "EROFS",
        "source/more",
        "bind_mount: mount(target): No such file or directory",
    ]
    assert sorted(os.listdir(workdir / "source")) == ["more", "written"]
    assert os.listdir(workdir / "target") == []


def test_bind_mount_needs_the_right(newest: Python, workdir: Path) -> None:
    code = "import unshare_boot; unshare_boot.bind_mount('/etc', '/mnt')"
    done = newest.run(code)
    assert done.status == 1
    assert "bind_mount: mount(/mnt): Operation not permitted" in done.stderr


# unshare

WHERE = """if True:
    import os
    def here():
        directory = "/proc/self/ns/"
        return {kind: os.stat(directory + kind).st_ino for kind in os.listdir(directory)}
    def moved(before):
        return sorted(kind for kind, inode in here().items() if before[kind] != inode)
    before = here()
"""


def test_unshare(python: Python) -> None:
    code = (
        WHERE
        + """
    import socket, unshare_boot
    unshare_boot.unshare("user,net,uts=inside")
    print(moved(before), os.getuid(), socket.gethostname(), unshare_boot.active())
    socket.create_server(("127.0.0.1", 80)).close()
    unshare_boot.unshare("ipc")
    print(unshare_boot.active(), os.environ.get("PY_UNSHARE"))
    for nothing in ("", "off"):
        unshare_boot.unshare(nothing)
    print(moved(before))
"""
    )
    assert python.run(code).ok().splitlines() == [
        "['net', 'user', 'uts'] 0 inside ('user', 'net', 'uts')",
        "('user', 'net', 'uts', 'ipc') None",
        "['ipc', 'net', 'user', 'uts']",
    ]


@pytest.mark.parametrize(
    ("text", "code", "item"),
    [
        ("user,usr", "EINVAL", "'usr'"),
        ("user,net,uts=", "EINVAL", "uts=''"),
        ("net", "EPERM", "net"),
        ("user,net,time=-50000d", "ERANGE", "time"),
        ("user,tmpfs=/missing", "ENOENT", "tmpfs='/missing'"),
        ("\udcff,\x1b", "EINVAL", "'\\udcff'"),
    ],
)
def test_a_refusal_leaves_the_process_as_it_was(
    python: Python, text: str, code: str, item: str
) -> None:
    program = (
        WHERE
        + f"""
    import errno, unshare_boot
    environment = dict(os.environ)
    try:
        unshare_boot.unshare({text!r})
    except unshare_boot.UnshareError as error:
        print(errno.errorcode[error.errno], error.item)
        print(isinstance(error, OSError), str(error).isprintable())
    print(moved(before), dict(os.environ) == environment, unshare_boot.active())
    try:
        os.wait()
    except ChildProcessError:
        print("no child left")
"""
    )
    assert python.run(program).ok().splitlines() == [
        f"{code} {item}",
        "True True",
        "[] True ()",
        "no child left",
    ]


def test_unshare_with_threads(python: Python) -> None:
    program = (
        WHERE
        + """
    import threading, unshare_boot
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    try:
        unshare_boot.unshare("user,net")
    except unshare_boot.UnshareError as error:
        print(error.errno, "threads" in str(error))
    print(moved(before))
    go.set()
    thread.join()
    unshare_boot.unshare("user,net")
    print(moved(before))
"""
    )
    assert python.run(program).ok() == "22 True\n[]\n['net', 'user']\n"


@pytest.mark.parametrize("listing", ["caps=none", "net=/proc/self/ns/net"])
def test_what_the_kernel_would_give_to_one_thread(newest: Python, listing: str) -> None:
    """The others would keep what they have."""
    require_root()
    code = f"""
import threading, unshare_boot
stop = threading.Event()
threading.Thread(target=stop.wait).start()
try:
    unshare_boot.unshare({listing!r})
except unshare_boot.UnshareError as error:
    print(error.errno, error.call)
stop.set()
"""
    assert newest.run(code, as_root=True).ok() == "22 unshare(CLONE_THREAD)\n"


def test_unshare_inside_a_start(newest: Python) -> None:
    code = "import unshare_boot; unshare_boot.unshare('net'); print(unshare_boot.active())"
    assert newest.run(code, unshare="user").ok() == "('user', 'net')\n"


# boot


def test_boot_from_a_program(python: Python) -> None:
    code = (
        WHERE
        + """
    import unshare_boot
    unshare_boot.boot()
    print(moved(before))
    os.environ["PY_UNSHARE"] = "user,net"
    unshare_boot.boot()
    unshare_boot.boot()
    print(moved(before), "PY_UNSHARE" in os.environ)
    os.environ["PY_UNSHARE"] = "usr"
    try:
        unshare_boot.boot()
    finally:
        print("never")
"""
    )
    done = python.run(["-u", "-c", code])
    assert (done.status, done.stdout) == (125, "[]\n['net', 'user'] False\n")
    assert "did you mean user?" in done.stderr
