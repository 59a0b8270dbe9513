"""What a refusal reads of the machine. Every path goes through one function, `Machine.path`."""

import os
import sys
from errno import E2BIG, EBADF, EINVAL, ENODEV, ENOENT, ENOSYS, ENXIO, EOVERFLOW, EPERM

from ..child import prctl, try_in_child
from ..errors import UnshareError
from ..namespaces import (
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    NAMESPACES,
    call,
    mount,
    unshare,
    write_file,
)
from ..procfiles import Mount, mounts_of, read_id_map, status_field

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13  # include/uapi/linux/capability.h
CAP_SYS_ADMIN = 21
CAP_SETFCAP = 31
NO_FLAG = 1  # in CSIGNAL, which is for clone(2) alone: no flag of unshare(2)
NO_UMOUNT_FLAG = 1 << 30  # none of umount2(2)'s
PATIENCE = 1  # second that a try may take: a child that hangs must not hold up the refusal
SYS_LANDLOCK_CREATE_RULESET = 444  # the same on every architecture that Python runs on
SYS_LANDLOCK_RESTRICT_SELF = 446
MOST_DOMAINS = 16  # LANDLOCK_MAX_NUM_LAYERS, security/landlock/limits.h
HANDLED = (1 << 9).to_bytes(8, sys.byteorder)  # LANDLOCK_ACCESS_FS_MAKE_SOCK
S_ISUID = 0o4000  # include/uapi/linux/stat.h
MOST = 1 << 20  # bytes read of one file

HIDING = ("hidepid=2", "hidepid=invisible", "hidepid=4", "hidepid=ptraceable")

# The files that show one; Kubernetes first, which has one of the others do the work.
CONTAINERS = (
    ("Kubernetes", "/var/run/secrets/kubernetes.io"),
    ("Docker", "/.dockerenv"),
    ("Podman", "/run/.containerenv"),
    ("Flatpak", "/.flatpak-info"),
)
MANAGERS = {  # what the variable container says: systemd's CONTAINER_INTERFACE
    "docker": "Docker",
    "podman": "Podman",
    "lxc": "LXC",
    "systemd-nspawn": "systemd-nspawn",
}


class Machine:
    """The machine and this process, as /proc and /sys show them.

    Nothing here raises OSError: what cannot be read is empty, None, or what most machines have.

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

    def lacks_driver(self, path: str) -> bool:
        """Tell whether no driver of the kernel answers for a device: open(2), ENODEV and ENXIO."""
        try:
            os.close(os.open(self.path(path), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        except (OSError, ValueError) as error:
            return getattr(error, "errno", 0) in (ENODEV, ENXIO)
        return False

    def owner(self, path: str) -> "int | None":
        """Return the uid that owns a file, or None where that is not to be found out."""
        try:
            return os.stat(self.path(path)).st_uid
        except (OSError, ValueError):
            return None

    def setuid(self, path: str) -> bool:
        """Tell whether a program file is setuid, inode(7)."""
        try:
            return bool(os.stat(self.path(path)).st_mode & S_ISUID)
        except (OSError, ValueError):
            return False

    def has_capabilities(self, path: str) -> bool:
        """Tell whether a program file has capabilities, capabilities(7)."""
        try:
            return bool(os.getxattr(self.path(path), "security.capability"))
        except OSError as error:
            return error.errno == EOVERFLOW  # they are for another user namespace

    def mounted_nosuid(self, path: str) -> str:
        """Return where the file system of a file is mounted, if that is nosuid; else nothing."""
        above = [
            each for each in self.mounts() if (path + "/").startswith(each.point.rstrip("/") + "/")
        ]
        nearest = max(above, key=lambda each: len(each.point), default=None)
        return nearest.point if nearest and "nosuid" in nearest.options else ""

    def number(self, path: str) -> "int | None":
        """Return the number in a file, or None where there is none."""
        text = self.read(path)
        return int(text) if text.isascii() and text.isdigit() else None

    def status(self, field: str) -> str:
        """Return a field of /proc/self/status, proc_pid_status(5); empty where it is missing."""
        try:
            return status_field(field, self.path("/proc/self/status"))
        except OSError:
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

    def mounts(self) -> "list[Mount]":
        """Return the mounts that the process sees; none where that is not to be found out."""
        try:
            return mounts_of(self.path("/proc/self/mountinfo"))
        except (OSError, ValueError, IndexError):
            return []

    def hides_processes(self) -> bool:
        """Tell whether /proc hides other users' processes, proc(5): ``hidepid``."""
        return any(
            each.point == "/proc" and option in HIDING
            for each in self.mounts()
            for option in each.shared_options
        )

    def mapped(self, kind: str, number: int) -> bool:
        """Tell whether an id is mapped in the process's user namespace; ``kind``: uid or gid."""
        return self._outer(kind, number) is not None

    def outer_uid(self) -> "int | None":
        """Return the process's uid outside its user namespace, or None where it is not mapped."""
        return self._outer("uid", self.ids()[0])

    def _outer(self, kind: str, number: int) -> "int | None":
        try:
            ranges = read_id_map(kind, self.path("/proc/self"))
        except (OSError, ValueError):
            return None
        for inner, outer, count in ranges:
            if inner <= number < inner + count:
                return outer + number - inner
        return None

    def variable(self, name: str) -> str:
        """Return an environment variable that this process, or the first one, was started with."""
        for process in ("self", "1"):
            for each in self.read(f"/proc/{process}/environ").split("\0"):
                key, _, value = each.partition("=")
                if key == name:
                    return value
        return ""

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
        if self.variable("KUBERNETES_SERVICE_HOST"):
            return "Kubernetes"
        for name, path in CONTAINERS:
            if self.exists(path):
                return name
        own = self.read("/proc/self/cgroup")
        both = own + self.read("/proc/1/cgroup")
        signs = (("Docker", "/docker"), ("Podman", "libpod"), ("Kubernetes", "/kubepods"))
        for name, sign in signs:
            if sign in both:
                return name
        manager = self.read("/run/host/container-manager") or self.variable("container")
        if manager:
            return MANAGERS.get(manager, manager if manager.isalnum() else "")
        return "systemd" if any(line.endswith(".service") for line in own.splitlines()) else ""

    def filtered(self, name: str, flag: int = 0) -> bool:
        """Tell whether a seccomp(2) filter, and not the kernel, answers a system call.

        Where the process has a filter at all, the call is made with an argument that the kernel
        turns down before anything else, in the same way for everybody: another answer is a
        filter's. Nothing changes by it.

        Args:
            name: the system call's; others than those of namespaces and mounts are not tried.
            flag: the CLONE_NEW* flag, since filters may forbid only some of them.
        """
        mode = self.status("Seccomp")  # proc_pid_status(5); empty before Linux 3.8
        if self.root or mode == "0":
            return mode == "2"
        try:
            if name == "unshare":
                return _errno_of("unshare", flag | NO_FLAG) != EINVAL
            if name == "setns":
                return _errno_of("setns", -1, flag) != EBADF
            if name == "mount":
                return _errno_of("mount", None, b"", None, 0, None) != ENOENT
            if name == "umount2":
                return _errno_of("umount2", b"", NO_UMOUNT_FLAG) != EINVAL
            if name == "sethostname" and self.capable():
                return _errno_of("sethostname", None, -1) != EINVAL
            if self.capable() and (arguments := _wrong_arguments(name)):
                return _errno_of("syscall", *arguments) not in (EINVAL, ENOSYS)
        except (ImportError, AttributeError):  # no _ctypes: then the kernel's word must do
            return self.status("Seccomp") == "2"
        return False

    def dumpable(self) -> bool:
        """Tell whether the process is dumpable, PR_SET_DUMPABLE(2const)."""
        if self.root:
            return True
        try:
            return prctl("PR_GET_DUMPABLE") == 1
        except (ImportError, OSError):
            return True

    def try_user(self, other: str = "") -> "UnshareError | None":
        """Try in a child what a list with ``user`` would do.

        Args:
            other: the namespace to enter in the new user namespace; empty for none.

        Returns:
            What failed, if anything did; in a faked tree nothing is tried, and nothing fails.
        """
        if self.root:
            return None
        uid = self.ids()[0]

        def attempt(_: int) -> None:
            _end_in_time()
            unshare("user")
            write_file("/proc/self/uid_map", f"0 {uid} 1")
            if other in NAMESPACES:
                unshare(other)

        try:
            try_in_child(attempt)
        except UnshareError as error:
            return error
        return None

    def filters_hostnames(self) -> bool:
        """Tell whether a filter answers sethostname(2), in a child that may call it.

        Podman's default profile is such a filter, where the container lacks CAP_SYS_ADMIN.
        """
        if self.root or self.status("Seccomp") != "2":
            return False

        def attempt(_: int) -> None:
            _end_in_time()
            try:
                unshare("user")
            except UnshareError:
                pass  # it is in a new one already, as long as that has no id map
            unshare("uts")
            if _errno_of("sethostname", None, -1) != EINVAL:
                raise UnshareError(EPERM, "", "uts", "sethostname")

        try:
            try_in_child(attempt)
        except UnshareError as error:
            return error.system_call == "sethostname"
        return False

    def mounts_fresh(self, item: str) -> bool:
        """Tell whether a list with ``user`` gets a fresh proc or sys, by trying in a child.

        For that one of them has to be there in full, and it may be where this process does not
        see it: below the root that systemd-nspawn has moved over the machine's.

        Args:
            item: proc or sys.
        """
        kind, needed = {"proc": ("proc", "pid"), "sys": ("sysfs", "net")}[item]

        def attempt(_: int) -> None:
            mount(kind, f"/{item}", kind, MS_NOSUID | MS_NODEV | MS_NOEXEC)

        def enter(_: int) -> None:
            _end_in_time()
            for name in ("user", "mount", needed):
                unshare(name)
            try_in_child(attempt)  # the first to be in the new PID namespace

        try:
            if not self.root:
                try_in_child(enter)
        except (UnshareError, RuntimeError):
            return False
        return not self.root

    def in_landlock_domain(self) -> bool:
        """Tell whether a Landlock domain confines this process, landlock(7), by trying in a child.

        Nothing in /proc tells. But there can be so many domains within each other and no more.
        """
        if self.root:
            return False

        def attempt(_: int) -> None:
            _end_in_time()
            prctl("PR_SET_NO_NEW_PRIVS", 1)
            for _ in range(MOST_DOMAINS):
                ruleset = call(
                    "syscall",
                    SYS_LANDLOCK_CREATE_RULESET,
                    HANDLED,
                    len(HANDLED),
                    0,
                    name="landlock",
                )
                call("syscall", SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, name="landlock")
                os.close(ruleset)

        try:
            try_in_child(attempt)
        except UnshareError as error:
            return error.errno == E2BIG
        return False


def _errno_of(function: str, *arguments: "int | bytes | None") -> int:
    """Call a function of the C library and return the errno, 0 where it succeeds."""
    try:
        call(function, *arguments)
    except OSError as error:
        return error.errno or 0
    return 0


def _wrong_arguments(name: str) -> "tuple[int | None, ...]":
    """Return a newer system call for mounts, as syscall(2) wants it, with flags that it lacks.

    The kernel answers these with EINVAL to a process that may mount.
    """
    from ..items.overlay import SYS_FSCONFIG, SYS_FSMOUNT, SYS_FSOPEN
    from ..items.read_only import SYS_MOUNT_SETATTR
    from ..items.trees import SYS_MOVE_MOUNT

    return {
        "move_mount": (SYS_MOVE_MOUNT, -1, None, -1, None, -1),
        "fsopen": (SYS_FSOPEN, None, -2),
        "fsconfig": (SYS_FSCONFIG, -1, 0, None, None, 0),
        "fsmount": (SYS_FSMOUNT, -1, -2, 0),
        "mount_setattr": (SYS_MOUNT_SETATTR, -1, None, -1, None, 0),
    }.get(name, ())


def _end_in_time() -> None:
    from signal import SIG_DFL, SIG_UNBLOCK, SIGALRM, alarm, pthread_sigmask, signal

    signal(SIGALRM, SIG_DFL)
    pthread_sigmask(SIG_UNBLOCK, [SIGALRM])
    alarm(PATIENCE)


WHOLE = True
