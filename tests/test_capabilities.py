"""caps=keep and caps=none: what the program and its children may do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness import Python, Session, require_root, require_tool

SETS = """
import re, subprocess, sys
own = open("/proc/self/status").read()
child = subprocess.check_output(["cat", "/proc/self/status"], text=True)
grandchild = subprocess.check_output(["sh", "-c", "cat /proc/self/status; :"], text=True)
for text in (own, child, grandchild):
    print(*re.findall(r"^(?:Cap...|NoNewPrivs):\\t0*(\\w+)$", text, re.M))
"""
WHOLE = int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1
FULL = f"{2**WHOLE - 1:x}"


def test_without_the_item_the_children_lose_them(newest: Python) -> None:
    done = newest.run(SETS, unshare="user=current")
    assert done.ok() == f"0 {FULL} {FULL} {FULL} 0 0\n" + f"0 0 0 {FULL} 0 0\n" * 2


@pytest.mark.parametrize("user", ["current", "root", "1000:1000"])
def test_keep(either: Python, user: str) -> None:
    done = either.run(SETS, unshare=f"user={user},caps=keep")
    assert done.ok() == f"{' '.join([FULL] * 5)} 0\n" * 3


def test_children_of_an_ordinary_id_can_set_up_the_network(either: Python) -> None:
    ip = require_tool("ip")
    code = f"""
import os, subprocess
print(os.getuid())
subprocess.check_call([{ip!r}, "link", "add", "name", "one", "type", "veth", "peer", "name", "two"])
subprocess.check_call([{ip!r}, "address", "add", "192.0.2.1/24", "dev", "one"])
print(sorted(os.listdir("/sys/class/net")))
"""
    done = either.run(code, unshare="user=current,net,sys,caps=keep")
    assert done.ok() == f"{either.user.uid}\n['lo', 'one', 'two']\n"
    assert either.run(code, unshare="user=current,net,sys").status != 0


@pytest.mark.parametrize("user", ["user=root", "user=current", "user=1000:1000"])
@pytest.mark.parametrize("more", ["", ",net,mount,uts,ipc,pid"])
def test_none(either: Python, user: str, more: str) -> None:
    assert either.run(SETS, unshare=f"{user}{more},caps=none").ok() == "0 0 0 0 0 1\n" * 3


def test_none_for_root(newest: Python) -> None:
    assert newest.run(SETS, unshare="caps=none", as_root=True).ok() == "0 0 0 0 0 1\n" * 3
    done = newest.run(SETS, unshare="net,mount,caps=none", as_root=True)
    assert done.ok() == "0 0 0 0 0 1\n" * 3


def test_none_runs_last(either: Python, workdir: Path) -> None:
    """What needs capabilities is done by then, and cannot be undone."""
    code = """
import os, socket, subprocess
print(socket.gethostname(), os.listdir("."))
print(subprocess.call(["umount", os.getcwd()], stderr=subprocess.DEVNULL) != 0)
try:
    socket.sethostname("other")
except PermissionError:
    print("refused")
"""
    (workdir / "file").touch()
    listing = "caps=none,user,net,uts=inside,tmpfs=.,addr=10.0.0.1/8"
    assert either.run(code, unshare=listing, cwd=workdir).ok() == "inside []\nTrue\nrefused\n"


def test_setuid_programs_gain_nothing(newest: Python, workdir: Path) -> None:
    require_root()
    program = workdir / "id"
    shutil.copy(require_tool("id"), program)
    os.chown(program, newest.user.uid, 0)
    program.chmod(0o4755)
    code = f"import subprocess; subprocess.run([{str(program)!r}, '-u'])"
    assert newest.run(code, as_root=True).ok() == f"{newest.user.uid}\n"  # or nothing was tested
    assert newest.run(code, unshare="caps=none", as_root=True).ok() == "0\n"
    assert newest.run(code, unshare="caps=keep", as_root=True).ok() == f"{newest.user.uid}\n"


@pytest.mark.parametrize("flags", ["p", "ep"])
def test_files_with_capabilities_give_nothing(newest: Python, workdir: Path, flags: str) -> None:
    """One whose capabilities are to be effective is not even executed: capabilities(7)."""
    require_root()
    program = workdir / "cat"
    shutil.copy(require_tool("cat"), program)
    newest.root.run([require_tool("setcap"), f"cap_net_raw+{flags}", program]).ok()
    code = f"""
import subprocess
try:
    status = subprocess.check_output([{str(program)!r}, "/proc/self/status"], text=True)
    print([line.split()[1].lstrip("0") for line in status.splitlines() if line[:7] == "CapPrm:"])
except PermissionError:
    print("refused")
"""
    assert newest.run(code).ok() == "['2000']\n"  # or nothing was tested
    done = newest.run(code, unshare="caps=none", as_root=True)
    assert done.ok() == ("refused\n" if flags == "ep" else "['']\n")


def test_none_needs_user(newest: Python) -> None:
    done = newest.run("print('user code')", unshare="caps=none")
    assert (done.status, done.stdout) == (125, "")
    assert "caps=none" in done.stderr and "add user" in done.stderr


def test_keep_of_nothing(newest: Python) -> None:
    """An ordinary user outside of a user namespace has none to keep."""
    assert newest.run(SETS, unshare="caps=keep").ok() == newest.run(SETS).ok()


def test_threads_before_the_start(newest: Python, session: Session, workdir: Path) -> None:
    """They would keep what they have: the process begins anew without them."""
    require_root()
    python = session.fresh(session.variant(newest), workdir / "venv")
    text = "import threading as t; t.Thread(target=t.Event().wait, daemon=True).start()\n"
    (python.site_packages / "a_thread.pth").write_text(text)
    code = """
import glob, re
found = glob.glob("/proc/self/task/*/status")
print(len(found) > 1, {mask for path in found
                       for mask in re.findall(r"Cap...:\\t(\\w+)", open(path).read())})
"""
    done = python.run(code, unshare="caps=none", as_root=True)
    assert done.ok() == "True {'0000000000000000'}\n"
