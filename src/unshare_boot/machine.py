"""What a diagnosis reads of the machine. Every path goes through one function, `Machine.path`."""

import os
from errno import EBADF, EINVAL, ENOENT, ENOSYS

from .namespaces import call, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

CAP_SYS_ADMIN = 21  # include/uapi/linux/capability.h
CAP_SETFCAP = 31
PR_GET_DUMPABLE = 3  # include/uapi/linux/prctl.h
NO_FLAG = 1  # in CSIGNAL, which is for clone(2) alone: no flag of unshare(2)
MAPPING = 128  # added to an errno: it is of the id map, not of unshare(2)
MOST = 1 << 20  # bytes read of one file

# The newer calls for mounts, by number (the same everywhere), each with arguments that are no flags
# of it, which the kernel answers with EINVAL to who may mount.
MOUNT_CALLS: "dict[str, tuple[int | None, ...]]" = {
    "move_mount": (429, -1, None, -1, None, -1),
    "fsopen": (430, None, -2),
    "fsmount": (432, -1, -2, 0),
    "mount_setattr": (442, -1, None, -1, None, 0),
}

CONTAINERS = (
    ("Docker", "/.dockerenv"),
    ("Podman", "/run/.containerenv"),
    ("Kubernetes", "/var/run/secrets/kubernetes.io"),
    ("Flatpak", "/.flatpak-info"),
)


class Machine:
    """The machine and this process, as /proc and /sys show them.

    Args:
        root: the directory that stands for ``/``: a faked tree. System calls are then not tried,
            since they would tell of another machine than the tree does.
    """

    def __init__(self, root: str = "") -> None:
        self.root = root

    def path(self, path: str) -> str:
        """Return where to find an absolute path."""
        return self.root + path

    def read(self, path: str) -> str:
        """Return what a file holds, without blanks around; empty where it cannot be read."""
        try:
            descriptor = os.open(self.path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return ""
        data = b""
        try:
            while len(data) < MOST and (more := os.read(descriptor, 1 << 16)):
                data += more
        except OSError:
            pass
        finally:
            os.close(descriptor)
        return data.decode("utf-8", "replace").strip(" \t\n\0")

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file; one that may not be looked at counts as there."""
        try:
            os.stat(self.path(path))
        except PermissionError:
            return True
        except (OSError, ValueError):
            return False
        return True

    def writable(self, path: str) -> bool:
        """Tell whether this user may read and write a file."""
        return os.access(self.path(path), os.R_OK | os.W_OK)

    def owner(self, path: str) -> "int | None":
        """Return the uid that owns a file, or None where that is not to be found out."""
        try:
            return os.stat(self.path(path)).st_uid
        except (OSError, ValueError):
            return None

    def number(self, path: str) -> "int | None":
        """Return the number in a file, or None where there is none."""
        text = self.read(path)
        return int(text) if text.isascii() and text.isdigit() else None

    def status(self, field: str) -> str:
        """Return a field of /proc/self/status, proc_pid_status(5); empty where it is missing."""
        for line in self.read("/proc/self/status").splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value.strip()
        return ""

    def release(self) -> str:
        """Return the kernel's release, such as ``6.8.0-45-generic``."""
        return self.read("/proc/sys/kernel/osrelease") or ("" if self.root else os.uname().release)

    def older_than(self, version: str) -> bool:
        """Tell whether the kernel is older than a version such as ``5.12``."""
        numbers = self.release().replace("-", ".").split(".")
        known = [int(number) for number in numbers[:2] if number.isascii() and number.isdigit()]
        return len(known) == 2 and known < [int(number) for number in version.split(".")]

    def ids(self) -> "tuple[int, int]":
        """Return the effective user and group id."""
        try:
            uid, gid = (int(self.status(field).split()[1]) for field in ("Uid", "Gid"))
        except (IndexError, ValueError):
            return os.geteuid(), os.getegid()
        return uid, gid

    def capable(self, capability: int = CAP_SYS_ADMIN) -> bool:
        """Tell whether the process has a capability in its user namespace, capabilities(7)."""
        effective = self.status("CapEff")
        if not effective:
            return self.ids()[0] == 0
        return bool(int(effective, 16) >> capability & 1)

    def mounts(self) -> "list[tuple[str, str, str]]":
        """Return the mounts that the process sees: where, type, options; proc_pid_mountinfo(5)."""
        found = []
        for line in self.read("/proc/self/mountinfo").splitlines():
            before, _, after = line.partition(" - ")
            fields, kind = before.split(" "), after.split(" ")[0]
            if len(fields) > 5:
                found.append((fields[4], kind, fields[5]))
        return found

    def mapped(self, kind: str, number: int) -> bool:
        """Tell whether an id has a place in the process's user namespace; ``kind``: uid or gid."""
        return self._outer(kind, number) is not None

    def outer_uid(self) -> "int | None":
        """Return the process's uid outside its user namespace, or None where it is not mapped."""
        return self._outer("uid", self.ids()[0])

    def _outer(self, kind: str, number: int) -> "int | None":
        for line in self.read(f"/proc/self/{kind}_map").splitlines():
            inner, outer, count = map(int, line.split())
            if inner <= number < inner + count:
                return outer + number - inner
        return None

    def threads(self) -> int:
        """Return how many threads the process has; 0 where that is not to be found out."""
        try:
            return len(os.listdir(self.path("/proc/self/task")))
        except OSError:
            return 0

    def limit(self, name: str) -> str:
        """Return a soft limit of /proc/self/limits, such as ``Max processes``; empty if unknown."""
        for line in self.read("/proc/self/limits").splitlines():
            if line.startswith(name):
                return line[len(name) :].split()[0]
        return ""

    def container(self) -> str:
        """Return what container this is, such as ``Docker``; empty where nothing shows one."""
        for name, path in CONTAINERS:
            if self.exists(path):
                return name
        own = self.read("/proc/self/cgroup")
        both = own + self.read("/proc/1/cgroup")
        signs = (("Docker", "/docker"), ("Podman", "libpod"), ("Kubernetes", "/kubepods"))
        for name, sign in signs:
            if sign in both:
                return name
        return "systemd" if any(line.endswith(".service") for line in own.splitlines()) else ""

    def filtered(self, name: str, flag: int = 0) -> bool:
        """Tell whether a seccomp(2) filter, and not the kernel, answers a system call.

        The call is made with an argument that the kernel turns down before anything else, in the
        same way for everybody: another answer is a filter's. Nothing changes by it.

        Args:
            name: the system call's; others than unshare, setns and those for mounts are not tried.
            flag: the CLONE_NEW* flag, since filters may forbid only some of them.
        """
        if self.root:
            return self.status("Seccomp") == "2"
        try:
            if name == "unshare":
                return errno_of("unshare", flag | NO_FLAG) != EINVAL
            if name == "setns":
                return errno_of("setns", -1, flag) != EBADF
            if name == "mount":
                return errno_of("mount", None, b"", None, 0, None) != ENOENT
            if name in MOUNT_CALLS and self.capable():
                return errno_of("syscall", *MOUNT_CALLS[name]) not in (EINVAL, ENOSYS)
        except (ImportError, AttributeError):  # no _ctypes: then the kernel's word must do
            return self.status("Seccomp") == "2"
        return False

    def dumpable(self) -> bool:
        """Tell whether the process is dumpable, PR_SET_DUMPABLE(2const)."""
        if self.root:
            return True
        try:
            return call("prctl", PR_GET_DUMPABLE, 0, 0, 0, 0) == 1
        except (ImportError, OSError):
            return True

    def tried(self, flags: int) -> "tuple[str, int]":
        """Try a user namespace in a child.

        Args:
            flags: CLONE_NEWUSER, and what else is to be had with it.

        Returns:
            The call that failed and its errno; ``("", 0)`` if none did.
        """
        if self.root:
            return "", 0
        uid = self.ids()[0]

        def attempt() -> int:
            errno = errno_of("unshare", flags)
            if errno:
                return errno
            try:
                write_file("/proc/self/uid_map", f"0 {uid} 1")
            except OSError as error:
                return MAPPING + (error.errno or 0)
            return 0

        errno = in_child(attempt)
        if errno > MAPPING:
            return "write(/proc/self/uid_map)", errno - MAPPING
        return ("unshare(CLONE_NEWUSER)", errno) if errno else ("", 0)


def errno_of(function: str, *arguments: "int | bytes | None") -> int:
    """Call a function of the C library and return the errno, 0 where it succeeds."""
    try:
        call(function, *arguments)
    except OSError as error:
        return error.errno or 0
    return 0


def in_child(function: "Callable[[], int]") -> int:
    """Return the number, 0 to 255, that a function returns in a child process; 255 if it fails."""
    from signal import SIG_DFL, SIG_UNBLOCK, SIGALRM, alarm, pthread_sigmask, signal

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal(SIGALRM, SIG_DFL)
            pthread_sigmask(SIG_UNBLOCK, [SIGALRM])
            alarm(1)  # second: a child that hangs must not hold up the refusal
            os.write(writer, bytes([function()]))
        finally:
            os._exit(0)
    os.close(writer)
    answer = os.read(reader, 1)
    os.close(reader)
    try:
        os.waitpid(child, 0)
    except ChildProcessError:  # SIGCHLD is ignored: the kernel has reaped it
        pass
    return answer[0] if answer else 255


WHOLE = True
