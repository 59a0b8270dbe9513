"""A program that is out to write elsewhere, under ro=/,rw=.,caps=none,pid.

docs/attempts.md has a row for each way that it tries, with what comes of it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from harness import Python, User
from harness.processes import Argument
from harness.session import PROJECT

LIST = "ro=/,rw=.,caps=none,pid"
PAGE = (PROJECT / "docs" / "attempts.md").read_text()

# Each way is a function, run in a child of its own; what it raises is what came of it.
HOSTILE = r"""
import ctypes, errno, fcntl, json, mmap, os, socket, struct, subprocess, sys

other = sys.argv[1]
victim = os.path.join(other, "victim")
new = os.path.join(other, "new")
libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, CLONE_NEWNS, CLONE_NEWUSER = -100, 0x20000, 0x10000000
MS_BIND, MS_REC, MS_REMOUNT, MS_RDONLY = 0x1000, 0x4000, 0x20, 1
WAYS = {}

def way(name):
    def add(function): WAYS[name] = function
    return add

def check(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

def mount(source, target, kind, flags, data=None):
    words = [word and os.fsencode(word) for word in (source, target, kind)]
    check(libc.mount(*words, flags, data))

def setattr_writable(descriptor, path):
    attributes = struct.pack("=4Q", 0, MS_RDONLY, 0, 0)
    check(libc.syscall(442, descriptor, os.fsencode(path), 0x9000 if not path else 0x8000,
                       attributes, len(attributes)))

def nested():
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    try: open("/proc/self/uid_map", "w").write(f"0 {own_uid} 1")
    except OSError: pass  # it has every right in there without a map as well

own_uid = os.getuid()

def write(path=victim):
    with open(path, "w") as file: file.write("hostile")

way("write to a file")(write)
way("make a file")(lambda: write(new))
way("make a file in /tmp, /var/tmp, /dev/shm or the home")(lambda: write_anywhere())

def write_anywhere():
    for place in "/tmp", "/var/tmp", "/dev/shm", os.path.expanduser("~"):
        path = os.path.join(place, f"hostile-{os.getpid()}")
        try: write(path)
        except OSError as error: last = error
        else: return os.unlink(path)
    raise last

way("truncate(2)")(lambda: os.truncate(victim, 0))
way("remove a file")(lambda: os.unlink(victim))
way("rename a file")(lambda: os.rename(victim, new))
way("rename the directory around the own one")(lambda: rename_around())

def rename_around():
    around = os.path.dirname(os.getcwd())
    os.rename(around, f"{around}-hostile")
    os.rename(f"{around}-hostile", around)  # for those that come after it

way("move a file of one's own there")(lambda: os.rename("own", new))
way("make a hard link to a file in the own directory, and write to that")(
    lambda: (os.link(victim, "linked"), write("linked")))
way("make a symbolic link, and write to that")(lambda: (os.symlink(victim, "link"), write("link")))
way("chmod(2)")(lambda: os.chmod(victim, 0o777))
way("set the times of a file")(lambda: os.utime(victim))
way("set an extended attribute")(lambda: os.setxattr(victim, "user.hostile", b"y"))
way("make a directory")(lambda: os.mkdir(new))
way("make a FIFO")(lambda: os.mkfifo(new))
way("bind a unix socket")(lambda: socket.socket(socket.AF_UNIX).bind(new))
way("write by /proc/self/root")(lambda: write("/proc/self/root" + victim))
way("write by /proc/1/root")(lambda: write("/proc/1/root" + victim))

@way("write by a descriptor of the directory")
def by_directory():
    directory = os.open(other, os.O_RDONLY)
    os.open("victim", os.O_WRONLY | os.O_TRUNC, dir_fd=directory)

@way("open a file again that is open for reading, /proc/self/fd")
def again():
    descriptor = os.open(victim, os.O_RDONLY)
    write(f"/proc/self/fd/{descriptor}")

@way("map a file into memory and write there, mmap(2)")
def mapped():
    descriptor = os.open(victim, os.O_RDONLY)
    memory = mmap.mmap(descriptor, 1, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    memory[0] = 0

@way("set the flags of a file's inode, ioctl(FS_IOC_SETFLAGS)")
def flags():
    descriptor = os.open(victim, os.O_RDONLY)
    fcntl.ioctl(descriptor, 0x40086602, struct.pack("L", 0x80))

@way("make all writable by mount(2), and write")
def remount():
    mount(None, "/", None, MS_REMOUNT | MS_BIND)
    write()

@way("make all writable by mount_setattr(2), and write")
def attributes():
    setattr_writable(AT_FDCWD, "/")
    write()

@way("make a writable copy of the mount, open_tree(2), and write")
def copy():
    tree = check(libc.syscall(428, AT_FDCWD, b"/", 0x8001))
    setattr_writable(tree, "")
    os.open(victim[1:], os.O_WRONLY | os.O_TRUNC, dir_fd=tree)

@way("take away a mount, umount2(2), and write")
def unmount():
    check(libc.umount2(os.fsencode(os.getcwd()), 2))
    write()

@way("make all writable by mount(2) in namespaces of its own, and write")
def remount_nested():
    nested()
    mount(None, "/", None, MS_REMOUNT | MS_BIND)
    write()

@way("make all writable by mount_setattr(2) in namespaces of its own, and write")
def attributes_nested():
    nested()
    setattr_writable(AT_FDCWD, "/")
    write()

@way("bind the directory elsewhere in namespaces of its own, and write")
def bound_nested():
    nested()
    mount(other, "place", None, MS_BIND | MS_REC)
    write("place/victim")

@way("join the mount namespace of process 1, and write")
def join():
    descriptor = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    check(libc.setns(descriptor, CLONE_NEWNS))
    write()

@way("open a file by its handle, open_by_handle_at(2)")
def handle():
    buffer = struct.pack("Ii", 128, 0) + bytes(128)
    number = ctypes.c_int()
    check(libc.name_to_handle_at(AT_FDCWD, os.fsencode(victim), buffer, ctypes.byref(number), 0))
    descriptor = os.open("/", os.O_RDONLY)
    check(libc.open_by_handle_at(descriptor, buffer, os.O_WRONLY))

@way("write to a sysctl")
def sysctl(): write("/proc/sys/kernel/domainname")

@way("write by /proc/PID/root of a process outside")
def outside(): write(f"/proc/{sys.argv[2]}/root{victim}")

answers = {}
for name, function in WAYS.items():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            function()
            said = "written"
        except OSError as error: said = errno.errorcode[error.errno]
        except BaseException as error: said = repr(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    answers[name] = os.read(reader, 999).decode()
    os.waitpid(child, 0)
    for left in "linked", "link":
        if os.path.lexists(left): os.unlink(left)
    open("own", "w").close()
print(json.dumps(answers))
"""


def table() -> dict[str, str]:
    """What the page says of each way."""
    rows = PAGE.partition("| way to write elsewhere |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| (.*?) \| refused: (.*?) \|$", rows, re.MULTILINE))


@pytest.fixture
def places(workdir: Path, user: User) -> tuple[Path, Path]:
    """The directory of the program's own, and another one."""
    own, other = workdir / "own", workdir / "other"
    (own / "place").mkdir(parents=True)
    other.mkdir()
    (own / "own").write_text("own")
    (other / "victim").write_text("as it was")
    if os.getuid() == 0:
        for path in [workdir, *workdir.rglob("*")]:
            os.chown(path, user.uid, user.gid)
    return own, other


def seen(top: Path) -> dict[str, tuple[object, ...]]:
    return {
        str(path): (path.lstat(), path.read_bytes() if path.is_file() else b"")
        for path in [top, *top.rglob("*")]
    }


@pytest.mark.parametrize("first", ["user", "user=current", "user,sockets=unix,net"])
def test_nothing_else_is_writable(either: Python, places: tuple[Path, Path], first: str) -> None:
    own, other = places
    before = seen(other)
    arguments: list[Argument] = ["-c", HOSTILE, other, str(os.getpid())]
    done = either.run(arguments, unshare=f"{first},{LIST}", cwd=own, timeout=120)
    answers = json.loads(done.ok())
    assert seen(other) == before
    expected = table()
    assert {*answers} == {*expected} and len(answers) >= 25
    wrong = {
        name: said for name, said in answers.items() if said not in expected[name].split(" or ")
    }
    assert not wrong


def test_each_way_is_one(newest: Python, places: tuple[Path, Path]) -> None:
    """Without a list most of them do write; the others want rights that nobody has there."""
    own, other = places
    done = newest.run(["-c", HOSTILE, other, str(os.getpid())], cwd=own, timeout=120)
    answers = json.loads(done.ok())
    assert sum(said == "written" for said in answers.values()) >= 12, answers
