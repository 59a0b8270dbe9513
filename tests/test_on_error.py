"""PY_UNSHARE_ON_ERROR=warn: the whole list, or one warning and nothing of it; and unshare()."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from harness import (
    Finished,
    Python,
    Session,
    namespace_inode,
    namespaces,
    require_root,
    require_tool,
)
from harness.mounts import PLACES
from harness.processes import Argument

WARN = {"PY_UNSHARE_ON_ERROR": "warn"}

# All that a list could have changed, and what a rehearsal could have left.
STATE = (
    f"PLACES = {PLACES}\n"
    + """
def state():
    import os, signal
    def read(path):
        with open(path) as file:
            return file.read()
    kinds = sorted(os.listdir("/proc/self/ns"))
    targets = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:
            continue
        if "/libffi.so" not in target:
            targets[name] = target.partition(":[")[0]
    try:
        children = [os.waitpid(-1, os.WNOHANG)]
    except ChildProcessError:
        children = []
    return {
        "namespaces": {kind: os.stat("/proc/self/ns/" + kind).st_ino for kind in kinds},
        "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
        "maps": [read("/proc/self/" + name) for name in ("uid_map", "gid_map", "setgroups")],
        "status": [line for line in read("/proc/self/status").splitlines()
                   if line.startswith(("Cap", "NoNew", "SigBlk", "SigIgn", "SigCgt", "Threads"))],
        "mounts": [line for line in read("/proc/self/mountinfo").splitlines()
                   if line.split()[4] in PLACES or line.split()[4].startswith(os.getcwd())],
        "hostname": os.uname().nodename,
        "environment": {k: v for k, v in os.environ.items() if k != "PY_UNSHARE_ON_ERROR"},
        "descriptors": targets,
        "children": children,
        "cwd": os.getcwd(),
    }
"""
)
SHOW = STATE + "import json; print(json.dumps(state()))"
ACTIVE = "import unshare_boot; print(unshare_boot.active())"


def show(done: Finished) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(done.ok())
    return told


def assert_nothing_applied(python: Python, done: Finished, **options: Any) -> None:
    """The program ran as if there were no variable, and one warning was written."""
    assert show(done) == show(python.run(SHOW, **options))
    first = [line for line in done.stderr.splitlines() if line.startswith("unshare-boot:")]
    assert len(first) == 1 and first[0].endswith(
        "the program was started all the same, un-isolated"
    )


NOT_UNDERSTOOD = ["usr", "user,", "user,user", "time=never", "user,uts=a_b", "net,addr=1", "\udcff"]


@pytest.mark.parametrize("unshare", NOT_UNDERSTOOD)
def test_a_list_that_is_not_understood(newest: Python, unshare: str) -> None:
    assert newest.run(SHOW, unshare=unshare).status == 125
    assert_nothing_applied(newest, newest.run(SHOW, unshare=unshare, env=WARN))


REFUSED = [
    "net",
    "mount",
    "user,net,tmpfs=/nonexistent",
    "user,mount,bind=/nonexistent:/mnt",
    "user=0:0,map-users=1:1:1",
    "user=/proc/1/ns/nothing",
    "user=all",
    "user,net=/dev/null",
]


@pytest.mark.parametrize("unshare", REFUSED)
def test_a_list_that_is_refused(python: Python, unshare: str) -> None:
    assert python.run(SHOW, unshare=unshare).status == 125
    assert_nothing_applied(python, python.run(SHOW, unshare=unshare, env=WARN))


def test_active_is_empty(newest: Python) -> None:
    code = "import os, unshare_boot as u; print(u.active(), *(n for n in os.environ if 'PY_' in n))"
    done = newest.run(code, unshare="user,tmpfs=/nonexistent", env=WARN)
    assert done.ok() == "() PY_UNSHARE_ON_ERROR\n"


STEP_FAULTS = [
    ("unshare:error=EPERM:when=1", "user"),
    ("unshare:error=ENOSPC:when=2", "net"),
    ("unshare:error=ENOSYS:when=3", "mount"),
    ("unshare:error=EPERM:when=4", "uts"),
    ("unshare:error=EINVAL:when=5", "ipc"),
    ("unshare:error=EPERM:when=6", "cgroup"),
    ("unshare:error=EPERM:when=7", "time"),
    ("mount:error=EACCES", "mount"),
    ("sethostname:error=EPERM", "uts"),
    ("setns:error=EPERM", "time"),
    ("unshare:signal=KILL:when=2", "was killed"),
]


@pytest.mark.parametrize(("fault", "item"), STEP_FAULTS, ids=[fault for fault, _ in STEP_FAULTS])
def test_every_step_that_the_kernel_can_refuse(newest: Python, fault: str, item: str) -> None:
    """The numbers of the calls are those of the child, which is the only one to come so far."""
    strace = require_tool("strace")
    name = fault.partition(":")[0]
    command: list[Argument] = [strace, "-f", "-qq", "-o", "/dev/null"]
    command += ["-e", f"trace={name}", "-e", f"inject={fault}", *newest.command(SHOW)]
    unshare = "user,net,mount,uts=inside,ipc,cgroup,time"
    refused = newest.user.run(command, env={"PY_UNSHARE": unshare})
    if "signal" not in fault:
        assert (refused.status, refused.stdout) == (125, "")
    done = newest.user.run(command, env={"PY_UNSHARE": unshare, **WARN})
    assert_nothing_applied(newest, done)
    assert item in done.stderr.splitlines()[1]


@pytest.mark.parametrize("call", ["pipe2", "clone", "waitid"])
def test_no_child_can_be_had(newest: Python, workdir: Path, call: str) -> None:
    """No process, no descriptor: nothing can be tried, and so nothing is applied."""
    strace = require_tool("strace")
    calls = {"pipe2": "pipe2,pipe", "clone": "clone,fork,clone3", "waitid": "clone,fork"}[call]
    present = [f"?{name}" for name in calls.split(",")]
    command: list[Argument] = [strace, "-f", "-qq", "-o", "/dev/null"]
    command += ["-e", f"trace={','.join(present)}"]
    command += ["-e", f"inject={','.join(present)}:error=EAGAIN", *newest.command(SHOW)]
    done = newest.user.run(command, env={"PY_UNSHARE": "user,net", **WARN})
    assert_nothing_applied(newest, done)


LISTS = [
    "user",
    "user,net",
    "user=current,net,mount,uts=inside,ipc,cgroup,time=+1h",
    "user,pid",
    "user,net,pid,sys",
    "user,net,tmpfs=/mnt,ro=/etc,overlay=/usr",
    "user,caps=none",
]


@pytest.mark.parametrize("unshare", LISTS)
def test_a_list_that_can_be_had(newest: Python, unshare: str) -> None:
    """Everything as with abort, and nothing left of the rehearsal."""
    plain, told = (
        newest.run(SHOW, unshare=unshare, env=env) for env in ({"PY_UNSHARE_ON_ERROR": ""}, WARN)
    )
    assert told.stderr == ""
    seen = [show(done) for done in (plain, told)]
    for each in seen:
        outside = namespaces("self")
        inside = each.pop("namespaces")
        each["new"] = [kind for kind in inside if inside[kind] != outside[kind]]
        each["mounts"] = [line.split(" - ")[1] for line in each["mounts"]]
        assert each["environment"].pop("PY_UNSHARE_ACTIVE")
    assert seen[0] == seen[1]


@pytest.mark.parametrize("driver", ["pasta", "slirp4netns"])
def test_a_rehearsal_with_a_way_out(newest: Python, workdir: Path, driver: str) -> None:
    """The port that it publishes is free again for the program's own."""
    require_tool(driver)
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("needs /dev/net/tun")
    # On some machines it is root's alone.
    as_root = os.stat("/dev/net/tun").st_mode & 0o006 != 0o006
    if as_root:
        require_root()
    code = (
        "import socket; server = socket.create_server(('0.0.0.0', 80)); print('ready', flush=True);"
        "connection, _ = server.accept(); connection.sendall(b'from inside'); connection.close()"
    )
    for env in (WARN, {"PY_UNSHARE_ON_ERROR": "abort"}):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        unshare = f"user,net={driver},mount,publish={port}:80"
        with newest.popen(code, unshare=unshare, env=env, as_root=as_root) as child:
            assert child.stdout and child.stderr
            assert child.stdout.readline() == "ready\n", child.stderr.read()
            with socket.create_connection(("127.0.0.1", port)) as connection:
                assert connection.makefile().read() == "from inside"
            assert child.wait() == 0
            assert child.stderr.read() == ""


def test_nothing_is_left_of_a_rehearsal_outside(newest: Python) -> None:
    """The processes of the rehearsal are gone before the program starts."""
    code = """
import os
own, found = os.getpid(), []
for name in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{name}/stat") as file:
            if os.getsid(int(name)) == os.getsid(0):
                found.append(file.read())
    except OSError:
        pass
print(len(found))
"""
    unshare = "user,pid,proc=keep,net"
    counts = [
        newest.run(code, unshare=unshare, env=env).ok()
        for env in ({}, WARN, {"PY_UNSHARE_ON_ERROR": "abort"})
    ]
    assert counts[0] == counts[1] == counts[2]


@pytest.mark.parametrize("value", ["Warn", "ignore", "1", " warn", "abort,warn", "\udcff\n"])
def test_another_value_is_refused(newest: Python, value: str) -> None:
    done = newest.run("print('user code')", unshare="user", env={"PY_UNSHARE_ON_ERROR": value})
    assert (done.status, done.stdout) == (125, "")
    assert "expected abort or warn" in done.stderr


@pytest.mark.parametrize("value", ["abort", ""])
def test_the_default_said_aloud(newest: Python, value: str) -> None:
    env = {"PY_UNSHARE_ON_ERROR": value}
    assert newest.run("print('user code')", unshare="net", env=env).status == 125
    assert newest.run(ACTIVE, unshare="user", env=env).ok() == "('user',)\n"


def test_a_list_that_says_nothing(newest: Python) -> None:
    for unshare in ("", "0", "off"):
        done = newest.run(ACTIVE, unshare=unshare, env=WARN)
        assert (done.ok(), done.stderr) == ("()\n", "")


@pytest.mark.parametrize("broken", ["namespaces.py", "start/rehearsal.py", "language/__init__.py"])
def test_a_broken_install_is_no_refusal_of_the_kernel(
    newest: Python, session: Session, workdir: Path, broken: str
) -> None:
    python = session.fresh(session.variant(newest), workdir / "venv")
    path = python.site_packages / "unshare_boot" / broken
    path.write_text("raise ValueError('broken')\n")
    shutil.rmtree(path.parent / "__pycache__")
    done = python.run("print('user code')", unshare="user,uts=x", env=WARN)
    assert (done.status, done.stdout) == (125, "")


def test_a_child_that_ends_without_an_answer(
    newest: Python, session: Session, workdir: Path
) -> None:
    python = session.fresh(session.variant(newest), workdir / "venv")
    path = python.site_packages / "unshare_boot" / "items" / "mounts.py"
    path.write_text("import os; os._exit(0)\n")
    shutil.rmtree(path.parent / "__pycache__")
    done = python.run("print('user code')", unshare="user,tmpfs=/mnt", env=WARN)
    assert (done.status, done.stdout) == (125, "")
    assert "ended without an answer" in done.stderr


def test_a_standard_error_that_takes_no_warning(newest: Python, workdir: Path) -> None:
    for redirection in ("2>&-", "2>/dev/full"):
        argv: list[Argument] = ["sh", "-c", f'exec "$0" -c "$1" {redirection}']
        argv += [newest.executable, "print('user code')"]
        assert newest.user.run(argv, env={"PY_UNSHARE": "net", **WARN}).ok() == "user code\n"


def test_a_parent_that_ignores_its_children(newest: Python) -> None:
    """With SIGCHLD ignored the kernel reaps, and waitpid(2) finds no child."""

    def prepare() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    for unshare, inside in (("user,net", True), ("net", False)):
        code = "import os; print(os.stat('/proc/self/ns/net').st_ino)"
        done = newest.run(code, unshare=unshare, env=WARN, preexec_fn=prepare)
        assert (int(done.ok()) != namespace_inode("self", "net")) is inside


@pytest.fixture
def threaded(newest: Python, session: Session, workdir: Path) -> Python:
    made = session.fresh(session.variant(newest), workdir / "venv")
    (made.site_packages / "a_thread.pth").write_text(
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    return made


def test_threads_and_a_list_that_can_be_had(threaded: Python) -> None:
    # Python 3.12 and later warn of a fork beside threads, which here would be an error.
    done = threaded.run(["-W", "error", "-c", ACTIVE], unshare="user,net", env=WARN)
    assert (done.ok(), done.stderr) == ("('user', 'net')\n", "")


def test_threads_and_a_list_that_is_refused(threaded: Python) -> None:
    done = threaded.run(["-W", "error", "-c", SHOW], unshare="user,ro=/nonexistent", env=WARN)
    assert_nothing_applied(threaded, done)


def test_threads_in_a_running_program(newest: Python) -> None:
    start = (
        "import os, threading; "
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); "
    )
    boot = "import unshare_boot; os.environ['PY_UNSHARE'] = 'user,net'; unshare_boot.boot()\n"
    done = newest.run(start + boot + SHOW, env=WARN)
    assert show(done) == show(newest.run(start + "\n" + SHOW))
    assert done.stderr.count("un-isolated") == 1
    assert "the program is running already" in done.stderr


# unshare(), which tries before it does as well.

CALL = (
    STATE
    + """
import sys, unshare_boot
before = state()
try:
    unshare_boot.unshare(sys.argv[1])
except unshare_boot.UnshareError as error:
    print(error.errno, error.item, error.call, isinstance(error, OSError))
    print(state() == before)
else:
    print(unshare_boot.active())
"""
)


@pytest.mark.parametrize(
    ("unshare", "told"),
    [
        ("net", "1 net unshare(CLONE_NEWNET) True"),
        ("usr", "22 'usr'  True"),
        ("user,net,tmpfs=/nonexistent", "2 tmpfs='/nonexistent' stat True"),
    ],
)
def test_unshare_raises_and_leaves_the_process_alone(
    python: Python, unshare: str, told: str
) -> None:
    done = python.run(["-c", CALL, unshare])
    assert done.ok() == f"{told}\nTrue\n"
    assert done.stderr == ""


@pytest.mark.parametrize("unshare", ["user,net", "user=current,net,mount,uts=x", "user,pid"])
def test_unshare_enters(python: Python, unshare: str) -> None:
    names = tuple(item.partition("=")[0] for item in unshare.split(","))
    if "pid" in names:
        names = ("user", "mount", "pid")
    assert python.run(["-c", CALL, unshare]).ok() == f"{names}\n"


def test_unshare_of_nothing(newest: Python) -> None:
    code = "import unshare_boot; unshare_boot.unshare('off'); print(unshare_boot.active())"
    assert newest.run(code).ok() == "()\n"


def test_a_kernel_that_changes_its_mind_after_the_rehearsal(newest: Python) -> None:
    """Half a list is no state to go on in."""
    strace = require_tool("strace")
    for code, env in (
        ("import unshare_boot; unshare_boot.unshare('user,net'); print('user code')", {}),
        ("print('user code')", {"PY_UNSHARE": "user,net", **WARN}),
    ):
        command: list[Argument] = [strace, "-qq", "-o", "/dev/null", "-e", "trace=unshare"]
        # Without -f: the child is not touched.
        command += ["-e", "inject=unshare:error=ENOSPC:when=2", *newest.command(code)]
        done = newest.user.run(command, env=env)
        assert (done.status, done.stdout) == (125, "")


def test_the_child_waits_for_nobody(newest: Python) -> None:
    """Standard input is the program's alone."""
    code = "import sys; print(sys.stdin.read())"
    assert newest.run(code, unshare="user,net", env=WARN, stdin="all of it").ok() == "all of it\n"
    assert newest.run(code, unshare="net", env=WARN, stdin="all of it").ok() == "all of it\n"


def test_output_before_the_call_is_written_once(newest: Python) -> None:
    code = "import unshare_boot; print('once', end=''); unshare_boot.unshare('user,net')"
    assert newest.run(code).ok() == "once"
