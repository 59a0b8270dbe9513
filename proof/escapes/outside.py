"""The world outside, as an attempt to get out finds it: a process with all that could be reached.

As a program, this file is that process. It has sockets, files, memory, a child and a terminal; it
starts interpreters that make an attempt (`proof.escapes`), isolated or not, as children of its own;
and it looks whether it has noticed anything. It says first which facts it has, since not every
machine has all; then each line of its standard input asks for an attempt, in JSON, and each line of
its standard output tells the outcome in the words of docs/attempts.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import pty
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from proof.escapes import ATTEMPTS, Attempt
from proof.escapes.kernel import (
    TIOCSCTTY,
    Vector,
    call,
    check,
    file_handle_of,
    libc,
    read,
    umount,
)

Scene = dict[str, Any]

COMMAND = "proof.escapes.outside"  # in this process's command line
PATIENCE = 30.0  # seconds for what an attempt says that it has done to be noticed
REACHED = "reaches it"
INSIDE = "stays inside"
REFUSED = "refused: "

IPC_CREAT, IPC_EXCL, IPC_RMID = 0o1000, 0o2000, 0
CREATE = os.O_CREAT | os.O_RDWR

# Things that last as long as one attempt.
MADE_EACH_TIME = {"terminal", "shm", "queue", "giver"}

CGROUPS = ("cgroup.procs", "unified/cgroup.procs", "cpu/release_agent", "systemd/release_agent")


class World:
    """Everything that there is to be reached, and who looks whether it was.

    Args:
        directory: of its own, which its user may write to.
        given: what was made for it beforehand, by somebody with more rights.
    """

    def __init__(self, directory: str, given: Scene) -> None:
        self.secret = os.environ["SECRET"].encode()
        self.memory = ctypes.create_string_buffer(self.secret, len(self.secret))
        around = os.path.join(directory, "around")
        self.dir, self.moved = os.path.join(around, "DIR"), os.path.join(directory, "moved")
        self.point = os.path.join(directory, "point")
        for path in (around, self.dir, self.point):
            os.mkdir(path)
        self.changes = os.path.join(directory, "changes")
        self.user_file = os.path.join(directory, "file")
        self.tcp = socket.create_server(("", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0unshare-boot-{os.getpid()}")
        self.path = socket.socket(socket.AF_UNIX)
        self.path.bind(os.path.join(directory, "socket"))
        self.gift = socket.socket(socket.AF_UNIX)
        self.gift.bind(os.path.join(directory, "giver"))
        for listener in (self.abstract, self.path, self.gift):
            listener.listen()
        self.file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115
        self.file.write(self.secret)
        self.file.flush()
        self.vsock = _vsock()
        self.facts: Scene = {
            "host": os.getpid(),
            "host_command": COMMAND,
            "memory": ctypes.addressof(self.memory),
            "uid": os.getuid(),
            "other_uid": os.getuid() + 1,
            "tcp": self.tcp.getsockname()[1],
            "udp": self.udp.getsockname()[1],
            "abstract": self.abstract.getsockname()[1:].decode(),
            "path": self.path.getsockname(),
            "file": self.file.fileno(),
            "user_file": self.user_file,
            "directory": directory,
            "dir": self.dir,
            "moved": self.moved,
            "mount_point": self.point,
            "vsock": self.vsock and self.vsock.getsockname()[1],
            "key": _key(self.secret),
            "cgroup": _first(os.path.join("/sys/fs/cgroup", name) for name in CGROUPS),
            "ns_handle": _namespace_handle(),
            **_network(),
            **given,
        }
        self.token = ""  # what an attempt is to bring out
        self.victim = 0
        self.signals = -1  # tells which the victim has got
        self.terminal = -1

    def _move_back(self) -> None:
        if os.path.exists(self.moved):
            around = os.path.dirname(self.dir)
            shutil.rmtree(around, ignore_errors=True)  # nothing is there where it was only moved
            os.rename(self.moved, around)

    # What one attempt gets.

    @contextlib.contextmanager
    def scene(self, wanted: Attempt) -> Iterator[tuple[Scene, list[int]]]:
        """What to tell the attempt, and the descriptors that it inherits."""
        self.token = os.urandom(len(self.secret) // 2).hex()
        for path in (self.user_file, os.path.join(self.dir, "file")):
            with open(path, "w") as file:
                file.write("as it was")
        for listener in (self.tcp, self.udp, self.abstract, self.path):
            _drain(listener)
        with contextlib.ExitStack() as stack:
            stack.callback(self._move_back)
            self.signals = stack.enter_context(self._victim())
            scene = {**self.facts, "token": self.token, "victim": self.victim}
            for name in MADE_EACH_TIME & set(wanted.needs):
                scene[name] = stack.enter_context(getattr(self, f"_{name}")())
            inherited = {
                name: stack.enter_context(self._inherited(name)) for name in wanted.inherits
            }
            yield {**scene, **inherited}, list(inherited.values())

    @contextlib.contextmanager
    def _victim(self) -> Iterator[int]:
        """A process of the same user, with a process group of its own, that tells of signals."""
        reader, writer = os.pipe()
        self.victim = os.fork()
        if not self.victim:
            try:
                check(libc.prctl(1, signal.SIGKILL))  # PR_SET_PDEATHSIG
                os.setpgid(0, 0)
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
                while True:
                    os.write(writer, bytes([signal.sigwait([signal.SIGUSR1])]))
            finally:
                os._exit(1)
        os.close(writer)
        with contextlib.suppress(OSError):  # it has done so itself
            os.setpgid(self.victim, self.victim)
        try:
            yield reader
        finally:
            os.kill(self.victim, signal.SIGKILL)
            os.waitpid(self.victim, 0)
            os.close(reader)

    @contextlib.contextmanager
    def _giver(self) -> Iterator[str]:
        """Somebody who gives a TCP connection away, to the first who connects."""
        child = os.fork()
        if not child:
            try:
                check(libc.prctl(1, signal.SIGKILL))  # PR_SET_PDEATHSIG
                peer, _ = self.gift.accept()
                with self._connected() as connection:
                    data = struct.pack("i", connection.fileno())
                    peer.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, data)])
            finally:
                os._exit(0)
        try:
            yield str(self.gift.getsockname())
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.tcp.getsockname()[1]))

    @contextlib.contextmanager
    def _inherited(self, name: str) -> Iterator[int]:
        if name == "connection":
            descriptor = self._connected().detach()
        elif name == "pidfd":
            descriptor = call("pidfd_open", os.getpid(), 0)
        elif name == "victim_pidfd":
            descriptor = call("pidfd_open", self.victim, 0)
        elif name in ("proc", "point", "dir_fd"):
            paths = {"proc": "/proc", "point": self.point, "dir_fd": self.dir}
            descriptor = os.open(paths[name], os.O_RDONLY)
        else:
            descriptor = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _terminal(self) -> Iterator[str]:
        """A new controlling terminal; the one before is gone, and with it our session's."""
        master, self.terminal = pty.openpty()
        fcntl.ioctl(self.terminal, TIOCSCTTY, 0)
        try:
            yield os.ttyname(self.terminal)
        finally:
            os.close(master)
            os.close(self.terminal)

    @contextlib.contextmanager
    def _shm(self) -> Iterator[int]:
        key = int.from_bytes(os.urandom(3), "little") + 1
        number = check(libc.shmget(key, 64, IPC_CREAT | IPC_EXCL | 0o600))
        try:
            libc.shmat.restype = ctypes.c_void_p
            ctypes.memmove(libc.shmat(number, None, 0), self.secret + b"\0", len(self.secret) + 1)
            yield key
        finally:
            check(libc.shmctl(number, IPC_RMID, None))

    @contextlib.contextmanager
    def _queue(self) -> Iterator[str]:
        name = f"unshare-boot-{os.getpid()}"
        os.close(call("mq_open", name.encode(), CREATE, 0o600, None))
        try:
            yield name
        finally:
            call("mq_unlink", name.encode())

    # Whether it has noticed.

    def has_noticed(self, got: object, what: str) -> bool:
        """Whether the effect is there; waited for, since the attempt says that it must be."""
        if not what:
            return True
        if what == "nothing":
            return False
        noticed: Callable[[object], bool] = getattr(self, f"_noticed_{what}")
        # Others are done when the attempt says so, and may have had no effect out here.
        end = time.monotonic() + (PATIENCE if what in ("tcp", "udp", "signal", "typed") else 0)
        while not noticed(got):
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)
        return True

    def _noticed_tcp(self, got: object) -> bool:
        return _accepted(self.tcp) == self.token

    def _noticed_abstract(self, got: object) -> bool:
        return _accepted(self.abstract) == self.token

    def _noticed_path(self, got: object) -> bool:
        return _accepted(self.path) == self.token

    def _noticed_credentials(self, got: object) -> bool:
        peer, _ = self.path.accept()
        with peer:
            peer.settimeout(PATIENCE)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            text, data, _, _ = peer.recvmsg(100, socket.CMSG_SPACE(12))
            _, uid, _ = struct.unpack("3i", data[0][2])
            return text.decode() == self.token and uid == 0

    def _noticed_udp(self, got: object) -> bool:
        if not select.select([self.udp], [], [], 0)[0]:
            return False
        return self.udp.recv(100).decode() == self.token

    def _noticed_secret(self, got: object) -> bool:
        return got == self.secret.decode()

    def _noticed_host(self, got: object) -> bool:
        return isinstance(got, str) and COMMAND in got

    def _noticed_signal(self, got: object) -> bool:
        if not select.select([self.signals], [], [], 0)[0]:
            return False
        return os.read(self.signals, 1)[0] == signal.SIGUSR1

    def _noticed_memory(self, got: object) -> bool:
        buffer = ctypes.create_string_buffer(len(self.secret))
        own = Vector(ctypes.addressof(buffer), len(buffer))
        other = Vector(ctypes.addressof(self.memory), len(buffer))
        call("process_vm_readv", self.victim, ctypes.byref(own), 1, ctypes.byref(other), 1, 0)
        return buffer.raw.decode() == self.token

    def _noticed_limit(self, got: object) -> bool:
        return resource.prlimit(self.victim, resource.RLIMIT_NOFILE) == (64, 64)

    def _noticed_priority(self, got: object) -> bool:
        return os.getpriority(os.PRIO_PROCESS, self.victim) == 7

    def _noticed_oom(self, got: object) -> bool:
        return read(f"/proc/{self.victim}/oom_score_adj") == "900\n"

    def _noticed_file(self, got: object) -> bool:
        return read(self.user_file) == self.token

    def _noticed_below(self, got: object) -> bool:
        return read(os.path.join(self.dir, "file")) == self.token

    def _noticed_typed(self, got: object) -> bool:
        if not select.select([self.terminal], [], [], 0)[0]:
            return False
        return os.read(self.terminal, 100).decode() == self.token[:8] + "\n"

    def _noticed_interface(self, got: object) -> bool:
        return "v" + self.token[:8] in [name for _, name in socket.if_nameindex()]

    def _noticed_hostname(self, got: object) -> bool:
        return socket.gethostname() == self.token[:8]

    def _noticed_mount(self, got: object) -> bool:
        mounted = os.path.ismount(self.point)
        if mounted:
            umount(self.point)
        return mounted


def _drain(listener: socket.socket) -> None:
    """Take away what earlier attempts have left."""
    while select.select([listener], [], [], 0)[0]:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(100)
        else:
            listener.accept()[0].close()


def _accepted(listener: socket.socket) -> str:
    """What the next client that waits has sent; empty if there is none."""
    if not select.select([listener], [], [], 0)[0]:
        return ""
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(PATIENCE)
        return peer.recv(100).decode()


def _first(paths: Iterator[str]) -> str | None:
    return next((path for path in paths if os.path.exists(path)), None)


def _vsock() -> socket.socket | None:
    try:
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        listener.bind((socket.VMADDR_CID_ANY, 500000 + os.getpid()))
    except (OSError, AttributeError):
        return None
    return listener


def _key(secret: bytes) -> int | None:
    """A key in a new session keyring, which goes when the last process that has it ends."""
    try:
        call("keyctl", 1, None)  # KEYCTL_JOIN_SESSION_KEYRING
        return call("add_key", b"user", b"unshare-boot", secret, len(secret), -3)  # @s
    except OSError:
        return None


def _namespace_handle() -> str | None:
    descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        return file_handle_of(descriptor, "", 0x1000).hex()  # AT_EMPTY_PATH
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _network() -> Scene:
    """An interface that leads out, and the address at it, if there is one."""
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # nothing is sent by that
            address = probe.getsockname()[0]
        except OSError:
            address = None
    return {"interface": names[0] if names else None, "address": address}


def make(world: World, request: Scene) -> Scene:
    """Have one attempt made; returns its outcome, or what went wrong."""
    name, unshare = request["attempt"], request["unshare"]
    wanted = ATTEMPTS[name]
    with world.scene(wanted) as (scene, descriptors):
        scene["unshare"] = unshare
        env = {key: value for key, value in os.environ.items() if key != "SECRET"}
        if unshare is not None:
            env["PY_UNSHARE"] = unshare.replace("DIR", world.dir).replace("CHANGES", world.changes)
        child = subprocess.Popen(
            [sys.executable, "-m", "proof.escapes", name],
            env={**env, **request["env"]},
            pass_fds=descriptors,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.setpgid(0, world.victim),
        )
        assert child.stdin and child.stdout and child.stderr
        with child:
            child.stdin.write(json.dumps(scene) + "\n")
            child.stdin.flush()
            if not select.select([child.stdout], [], [], PATIENCE)[0]:
                child.kill()
            line = child.stdout.readline()
            # The attempt waits for its input to end, so that what it has made is still there.
            outcome: Scene = json.loads(line) if line else {}
            noticed = "got" in outcome and world.has_noticed(outcome["got"], wanted.noticed)
            child.stdin.close()
            errors = child.stderr.read()
        if "refused" in outcome:
            return {"outcome": REFUSED + " or ".join(outcome["refused"])}
        if "got" in outcome:
            return {"outcome": REACHED if noticed else INSIDE}
        return {"error": f"status {child.returncode}\n{errors}"}


def main(directory: str) -> None:
    """Make attempts until the input ends."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # of terminals that go away
    world = World(directory, json.loads(sys.stdin.readline()))
    there = [name for name, fact in world.facts.items() if fact is not None]
    print(json.dumps([*there, *MADE_EACH_TIME]), flush=True)
    for line in sys.stdin:
        try:
            answer = make(world, json.loads(line))
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
