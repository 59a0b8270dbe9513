"""Files, ids, terminals, and what else has a name."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import subprocess

from proof.escapes.attempt import ROOT, USER, Control, Scene, attempt
from proof.escapes.kernel import (
    AT_FDCWD,
    TIOCSCTTY,
    TIOCSTI,
    call,
    check,
    file_handle_of,
    libc,
    nested,
    read,
)


@attempt("write to a file of the user", USER, noticed="file")
def write_file(scene: Scene) -> None:
    with open(scene["user_file"], "w") as file:
        file.write(scene["token"])


@attempt("read a file of root", ROOT, noticed="secret", needs=("root_file",))
def root_file(scene: Scene) -> str:
    return read(scene["root_file"])


@attempt("read it by a file handle, open_by_handle_at(2)", ROOT, needs=("root_file",))
def file_handle(scene: Scene) -> None:
    handle = file_handle_of(AT_FDCWD, scene["root_file"])
    directory = os.open("/", os.O_RDONLY)
    os.close(call("open_by_handle_at", directory, handle, os.O_RDONLY))


def _cat(program: str, path: str) -> str:
    done = subprocess.run([program, path], capture_output=True, text=True)
    if done.returncode:
        assert "Permission denied" in done.stderr, done.stderr
        raise OSError(errno.EACCES, done.stderr)
    return done.stdout


@attempt(
    "read it by a setuid program of root",
    USER,
    noticed="secret",
    needs=("setuid_cat", "root_file"),
)
def setuid(scene: Scene) -> str:
    return _cat(scene["setuid_cat"], scene["root_file"])


@attempt(
    "read it by a program with file capabilities",
    USER,
    noticed="secret",
    needs=("capable_cat", "root_file"),
)
def capable(scene: Scene) -> str:
    return _cat(scene["capable_cat"], scene["root_file"])


@attempt("give a file to somebody else, chown(2)", ROOT)
def chown(scene: Scene) -> None:
    os.chown(scene["user_file"], scene["other_uid"], -1)


@attempt("become somebody else, setuid(2)", ROOT)
def become(scene: Scene) -> None:
    os.setuid(scene["other_uid"])


@attempt("take other groups, setgroups(2)", ROOT)
def groups(scene: Scene) -> None:
    os.setgroups([scene["other_uid"]])


@attempt("write to /proc/self/uid_map once more", Control("user=none"))
def second_map(scene: Scene) -> None:
    with open("/proc/self/uid_map", "w") as file:
        file.write(f"0 {scene['uid']} 1")


@attempt("allow setgroups(2) again, /proc/self/setgroups", Control("user=none"))
def allow_groups(scene: Scene) -> None:
    with open("/proc/self/setgroups", "w") as file:
        file.write("allow")


@attempt("have rights over its network from a user namespace of its own", ROOT)
def nested_raw(scene: Scene) -> None:
    def raw_socket() -> None:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()

    if scene["unshare"] is None:  # the control: the call is one that somebody is allowed
        raw_socket()
    else:
        nested(raw_socket)


@attempt("make a device, mknod(2)", ROOT)
def mknod(scene: Scene) -> None:
    path = os.path.join(scene["directory"], scene["token"])
    os.mknod(path, 0o20600, os.makedev(1, 1))
    os.unlink(path)


@attempt("open a device of root", ROOT, needs=("device",))
def device(scene: Scene) -> None:
    os.close(os.open(scene["device"], os.O_RDONLY | os.O_NONBLOCK))


@attempt(
    "type into the controlling terminal, TIOCSTI",
    USER,
    noticed="typed",
    needs=("terminal",),
    lacking=("EIO",),
)
def tiocsti(scene: Scene) -> None:
    terminal = os.open("/dev/tty", os.O_RDWR)
    for character in scene["token"][:8] + "\n":
        fcntl.ioctl(terminal, TIOCSTI, character.encode())


@attempt("take the terminal away from the host's session, TIOCSCTTY", ROOT, needs=("terminal",))
def steal_terminal(scene: Scene) -> None:
    os.setsid()
    terminal = os.open(scene["terminal"], os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(terminal, TIOCSCTTY, 1)


@attempt("read a key of the session keyring", USER, noticed="secret", needs=("key",))
def keyring(scene: Scene) -> str:
    buffer = ctypes.create_string_buffer(100)
    length = call("keyctl", 11, scene["key"], buffer, 100)  # KEYCTL_READ
    return buffer.raw[:length].decode()


@attempt("read System V shared memory", USER, noticed="secret", needs=("shm",))
def shared_memory(scene: Scene) -> str:
    number = check(libc.shmget(scene["shm"], 64, 0))
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(number, None, 0o10000)  # SHM_RDONLY
    return ctypes.string_at(address).decode()


@attempt("open a POSIX message queue", USER, needs=("queue",))
def message_queue(scene: Scene) -> None:
    os.close(call("mq_open", scene["queue"].encode(), os.O_RDONLY, 0, None))
