"""Why a system call was refused: each cause one function that looks at the machine.

The functions are asked in the order of `CAUSES`; the first that finds its cause is believed, so
what can be proved stands before what is only likely.
"""

from errno import (
    EACCES,
    EAGAIN,
    EINVAL,
    EMFILE,
    ENODEV,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    EPERM,
    ERANGE,
    EROFS,
    EUSERS,
    errorcode,
)

from .join import FLAGS
from .machine import CAP_SETFCAP, MOUNT_CALLS, Machine
from .namespaces import CLONE_NEWUSER, FILES, NAMESPACES, Plan
from .spec import MAX_OFFSET, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Union

    Finding = Union[tuple[str, str], None]

# The kernel that each came with, and the option that it is built with: namespaces(7).
KERNELS = {
    "user": ("3.8", "CONFIG_USER_NS"),
    "net": ("2.6.29", "CONFIG_NET_NS"),
    "mount": ("2.4.19", "CONFIG_NAMESPACES"),
    "uts": ("2.6.19", "CONFIG_UTS_NS"),
    "ipc": ("2.6.19", "CONFIG_IPC_NS"),
    "cgroup": ("4.6", "CONFIG_CGROUPS"),
    "time": ("5.6", "CONFIG_TIME_NS"),
    "pid": ("2.6.24", "CONFIG_PID_NS"),
}

PACKAGES = {  # of Debian and Ubuntu
    "newuidmap": "uidmap",
    "newgidmap": "uidmap",
    "pasta": "passt",
    "slirp4netns": "slirp4netns",
}

# What is mounted below /proc and /sys where nothing is masked: on directories made for it, which
# the kernel does not count (fs/namespace.c, mnt_already_visible).
HARMLESS = (
    *("autofs", "binfmt_misc", "bpf", "configfs", "debugfs", "efivarfs", "fusectl", "nfsd"),
    *("pstore", "resctrl", "rpc_pipefs", "securityfs", "selinuxfs", "tracefs"),
)

UNLIMITED = 2**31 - 1  # what a new user namespace starts with in /proc/sys/user
DEEPEST = 32  # levels of PID namespaces; of user namespaces, one more: user_namespaces(7)

# The options of unshare(1) that do the same.
WRAPPER = {
    "user": "--map-root-user",
    "net": "--net",
    "mount": "--mount",
    "uts": "--uts",
    "ipc": "--ipc",
    "cgroup": "--cgroup",
    "time": "--time",
    "pid": "--pid --fork --mount-proc",
}


class Case:
    """What went wrong, and where to look for the reason.

    Args:
        text: the list.
        plan: the list understood; None where it was not.
        item: the name of the item that failed; empty where it was the whole list.
        call: the system call that failed, or the path that could not be opened.
        errno: its error.
        reason: the error in words.
        machine: what to look at.
    """

    def __init__(
        self,
        text: str,
        plan: "Plan | None",
        item: str,
        call: str,
        errno: int,
        reason: str,
        machine: Machine,
    ) -> None:
        self.text = text
        self.plan = plan or Plan()
        self.item = item
        self.call = call
        self.errno = errno
        self.reason = reason
        self.machine = machine
        # The namespace that unshare(2) was called for, by its flag; empty if it was another call.
        self.unshared = next(
            (name for name, flag in UNSHARE_CALLS.items() if call == f"unshare({flag})"), ""
        )

    def joins(self, name: str) -> bool:
        """Tell whether the list joins an existing namespace of that name."""
        return str(getattr(self.plan, name) or "").startswith("/")

    def list_with_user(self) -> str:
        """Return the list with ``user`` added, as a shell wants it."""
        text = f"user,{self.text}"
        if not text.isprintable() or len(text) > 200:
            return f"PY_UNSHARE={show(text)}"
        quoted = text.replace("'", "'\\''")
        return f"PY_UNSHARE='{quoted}'"


UNSHARE_CALLS = {
    name: "CLONE_NEWNS" if name == "mount" else f"CLONE_NEW{name.upper()}" for name in NAMESPACES
}


def find(case: Case) -> "Finding":
    """Return the most likely cause of a failure and its cure; None where none is found."""
    for cause in CAUSES:
        found = cause(case)
        if found:
            return found
    return None


def no_proc(case: Case) -> "Finding":
    """Nothing is mounted on /proc: proc(5)."""
    machine = case.machine
    if case.errno != ENOENT or "/proc/" not in case.call or machine.exists("/proc/self/status"):
        return None
    return (
        "/proc is not mounted here (there is no /proc/self/status)",
        "mount -t proc proc /proc (as root, in the tree where this program runs)",
    )


def threads(case: Case) -> "Finding":
    """unshare(2), setns(2): not with threads."""
    count = case.machine.threads()
    told = "threads" in case.reason
    refused = case.errno == EINVAL and (case.unshared or case.call == "unshare(CLONE_THREAD)")
    refused = refused or (case.errno == EUSERS and case.call.startswith("setns("))
    if not told and not (refused and count > 1):
        return None
    options = " ".join(
        "--map-current-user" if (name, value) == ("user", "current") else WRAPPER[name]
        for name, value in ((name, getattr(case.plan, name)) for name in NAMESPACES)
        if value is not None
    )
    why = "the kernel lets only a process with a single thread in"
    if not told:  # else the refusal itself says how many there are, and what is in the way
        why = f"this process has {count} threads (/proc/self/task), and {why}"
    return (
        why,
        "call unshare_boot.boot() or unshare_boot.unshare() before the first thread starts, or "
        f"wrap the command: unshare {options} COMMAND",
    )


def not_quite_linux(case: Case) -> "Finding":
    """Kernels that answer Linux's system calls, some of them only."""
    if not case.call:
        return None
    machine = case.machine
    version, release = machine.read("/proc/version"), machine.release()
    signs = f"{version} {release} {machine.read('/proc/cmdline')}".lower()
    # What gVisor's /proc/version says unless it is told otherwise: the build date of its first day.
    if "gvisor" in signs or "#1 SMP Sun Jan 10 15:06:54 PST 2016" in version:
        return (
            f"the kernel here is gVisor (/proc/version: {show(version)}), which is without parts "
            "of Linux's namespaces",
            "run the container with Linux's own kernel: docker run --runtime=runc ...",
        )
    if "microsoft" in signs and release.startswith(("4.4.", "3.4.")):
        return (
            f"the kernel here is WSL 1 ({release}), which has no user or network namespaces; WSL 2 "
            "has",
            "wsl.exe --set-version DISTRIBUTION 2",
        )
    return None


def no_such_namespace(case: Case) -> "Finding":
    """The kernel is too old, or was built without this namespace: namespaces(7)."""
    machine, name = case.machine, case.unshared or case.item
    if case.errno not in (EINVAL, ENOSYS, ENOENT) or name not in KERNELS or case.joins(name):
        return None
    if machine.exists(f"/proc/self/ns/{FILES[name]}") or not machine.exists("/proc/self/ns"):
        return None
    version, option = KERNELS[name]
    missing = f"there is no /proc/self/ns/{FILES[name]}"
    if machine.older_than(version):
        return (
            f"Linux {machine.release()} has no {name} namespaces ({missing}); {version} has",
            f"a kernel of version {version} or later, or a list without {name}",
        )
    return (
        f"this kernel, {machine.release()}, was built without {name} namespaces ({missing})",
        f"a kernel built with {option}=y, or a list without {name}",
    )


def missing_program(case: Case) -> "Finding":
    """A program that the item needs is not installed."""
    if case.errno != ENOENT:
        return None
    words = f"{case.call} {case.reason}".replace("(", " ").replace(")", " ").replace("/", " ")
    for program, package in PACKAGES.items():
        if program in words.replace(":", " ").replace(",", " ").split():
            return (
                f"the program {program} is not on PATH",
                f"sudo apt install {package} (Debian and Ubuntu)",
            )
    return None


def no_tun(case: Case) -> "Finding":
    """What pasta(1) and slirp4netns(1) make their interface of."""
    machine, path = case.machine, "/dev/net/tun"
    if case.item != "net" or case.call or "tun" not in case.reason:
        return None
    if not machine.exists(path):
        return (
            f"there is no {path}",
            "sudo modprobe tun; for a container: docker run --device /dev/net/tun ...",
        )
    if not machine.writable(path):
        return f"this user may not open {path}", f"sudo chmod 0666 {path}"
    return None


def seccomp(case: Case) -> "Finding":
    """A filter of whoever started this process answers in the kernel's place: seccomp(2)."""
    name = case.call.partition("(")[0]
    machine = case.machine
    if case.errno not in (EPERM, EACCES, ENOSYS) or not machine.filtered(
        name, FLAGS.get(case.unshared, 0)
    ):
        return None
    container = machine.container()
    why = f"a seccomp filter forbids {name}(2) to this process"
    option = "--security-opt seccomp=unconfined"
    if container in ("Docker", "Podman"):
        return (
            f"{why}: {container}'s default profile does",
            f"{container.lower()} run {option} ... (or a profile of your own that allows {name})",
        )
    if container == "Kubernetes":
        return (
            f"{why}: the container's profile does",
            'securityContext: {"seccompProfile": {"type": "Unconfined"}}',
        )
    if container == "systemd":
        return (
            f"{why}: what started it, such as a systemd unit with RestrictNamespaces=, set it up",
            "RestrictNamespaces=no in the [Service] section of the unit",
        )
    return (
        f"{why}: the container, sandbox or service that started it set that up",
        f"allow {name}(2) there; for Docker and Podman: {option}",
    )


def chroot(case: Case) -> "Finding":
    """No user namespace in a chroot: user_namespaces(7), clone(2) EPERM; mount(2) EINVAL."""
    machine = case.machine
    creating = case.errno == EPERM and case.unshared == "user"
    spreading = case.errno == EINVAL and case.call == "mount(/)"
    mounts = machine.mounts()
    if not (creating or spreading) or not mounts or any(where == "/" for where, _, _ in mounts):
        return None
    what = "the kernel gives no user namespace" if creating else "its mounts cannot be made private"
    return (
        f"this process is in a chroot (/ is no mount point in /proc/self/mountinfo): {what} there",
        "enter the tree by a mount namespace instead: bwrap --dev-bind TREE / COMMAND",
    )


def unmapped(case: Case) -> "Finding":
    """Whoever makes a user namespace needs an id in the one around it: clone(2) EPERM."""
    if case.errno != EPERM or case.unshared != "user":
        return None
    machine = case.machine
    for kind, number in zip(("uid", "gid"), machine.ids()):
        if machine.exists(f"/proc/self/{kind}_map") and not machine.mapped(kind, number):
            return (
                f"the {kind} of this process, {number}, is not mapped in the user namespace that "
                f"it lives in (/proc/self/{kind}_map)",
                "map it there first: unshare --map-root-user, user instead of user=none, or "
                "unshare_boot.write_user_map() and write_group_map()",
            )
    return None


def switched_off(case: Case) -> "Finding":
    """Debian's old switch."""
    path = "/proc/sys/kernel/unprivileged_userns_clone"
    if case.errno != EPERM or case.unshared != "user" or case.machine.number(path) != 0:
        return None
    if case.machine.capable():
        return None
    return (
        "kernel.unprivileged_userns_clone is 0: only root may make user namespaces here",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    )


def apparmor(case: Case) -> "Finding":
    """Ubuntu 23.10 and later, and AppArmor profiles in general."""
    if case.errno not in (EPERM, EACCES) or not (case.call or case.item):
        return None
    machine = case.machine
    profile = machine.read("/proc/self/attr/apparmor/current")
    if not profile and machine.read("/sys/module/apparmor/parameters/enabled") == "Y":
        profile = machine.read("/proc/self/attr/current")
    name, _, mode = profile.partition(" ")
    setting = "kernel.apparmor_restrict_unprivileged_userns"
    path = "/proc/sys/" + setting.replace(".", "/")
    # The file may be readable for root alone; that it is there says Ubuntu.
    restricted = machine.exists(path) and machine.read(path) in ("1", "")
    asked = case.plan.user is not None
    first = case.unshared == "user" and not machine.capable()
    later = case.unshared != "user" and machine.outer_uid() != 0  # root is not restricted
    if name == "unprivileged_userns" or (
        restricted and asked and (first or later) and mode != "(enforce)"
    ):
        gets = "no user namespace" if first else "a user namespace without any power in it"
        return (
            f"Ubuntu's AppArmor restriction ({setting}=1) gives an ordinary program {gets}",
            f"sudo sysctl -w {setting}=0 (or a profile for this interpreter alone, see "
            "docs/troubleshooting.md)",
        )
    if mode == "(enforce)" and (case.errno == EACCES or case.call.startswith("mount(")):
        container = machine.container()
        program = container.lower() if container in ("Docker", "Podman") else "docker"
        return (
            f"the AppArmor profile {show(name)} confines this process",
            f"{program} run --security-opt apparmor=unconfined ..., or a rule in that profile",
        )
    return None


def selinux(case: Case) -> "Finding":
    """SELinux can forbid user namespaces since Linux 6.1."""
    if case.errno != EACCES or case.machine.read("/sys/fs/selinux/enforce") != "1":
        return None
    context = case.machine.read("/proc/self/attr/current")
    return (
        f"SELinux is enforcing, and this process runs as {show(context)}",
        "sudo ausearch -m avc -ts recent (shows what was denied, audit2allow(1) how to allow it)",
    )


def limits(case: Case) -> "Finding":
    """ENOSPC of unshare(2) is a limit of namespaces(7), /proc/sys/user, or the nesting."""
    name = case.unshared
    if case.errno not in (ENOSPC, EUSERS) or not name:
        return None
    machine = case.machine
    setting = f"user.max_{FILES[name]}_namespaces"
    limit = machine.number("/proc/sys/" + setting.replace(".", "/"))
    raise_it = f"sudo sysctl -w {setting}="
    if limit == 0:
        return f"{setting} is 0: {name} namespaces are switched off", f"{raise_it}10000"
    if limit is not None and limit < UNLIMITED:
        return (
            f"{setting} allows {limit} to a user, and all are in use",
            f"{raise_it}{2 * limit} (or end who holds them: lsns -t {FILES[name]})",
        )
    if name == "pid" and len(machine.status("NSpid").split()) >= DEEPEST:
        return (
            f"PID namespaces are nested {DEEPEST} deep here, and the kernel allows no more",
            "start it from further outside, or leave pid out of the list",
        )
    outside = "the user namespace that this one lies in, or one further out,"
    if name == "user" or case.plan.user is None:
        deep = f"{name} namespaces are nested too deep ({DEEPEST} levels), or "
        if name not in ("user", "pid"):
            deep = ""
        return (
            f"{deep}{outside} has no more left to give (its own limit is not reached here: "
            f"{setting} is {limit})",
            f"start it from further outside, or raise the limit there: {raise_it}10000",
        )
    deep, further_out = "", ""
    if name == "pid":  # a /proc that was mounted inside shows no level further out
        deep = f"PID namespaces are nested too deep ({DEEPEST} levels), or "
        further_out = "start it from further outside, or "
    return (
        f"{deep}the user namespace that this was started in, or one around it, has no {name} "
        f"namespace left to give: its {setting} is used up or 0",
        f"{further_out}{raise_it}10000 (where it was started; sysctl {setting} shows what it is)",
    )


def too_many_mounts(case: Case) -> "Finding":
    """A mount namespace holds so many mounts, those copied into a new one included: mount(2)."""
    mounting = case.unshared == "mount" or case.call.startswith(("mount(", "move_mount("))
    most = case.machine.number("/proc/sys/fs/mount-max")
    count = len(case.machine.mounts())
    if case.errno != ENOSPC or not mounting or most is None or count < most:
        return None
    return (
        f"there are {count} mounts, and fs.mount-max allows {most} in a mount namespace",
        f"sudo sysctl -w fs.mount-max={2 * count}",
    )


def joining(case: Case) -> "Finding":
    """Who may join a namespace: setns(2), and ptrace(2) for the files of /proc/PID/ns."""
    machine, path = case.machine, getattr(case.plan, case.item, None)
    if not isinstance(path, str) or path[:1] != "/":
        return None
    pid = path.split("/")[2] if path.startswith("/proc/") else ""
    if case.errno in (EACCES, EPERM) and case.call.startswith("open(") and pid.isdigit():
        owner, own = machine.owner(f"/proc/{pid}"), machine.ids()[0]
        if owner != own:
            return (
                f"process {pid} belongs to uid {owner}: its namespaces are for that user and root",
                "start it as that user, or let root start it",
            )
        return (
            f"process {pid} has more rights than this one, or is not dumpable: its namespaces are "
            "for root",
            "let root start it",
        )
    if case.item == "user" and case.call.startswith("setns(") and case.errno == EPERM:
        return (
            "a user namespace lets in its owner, and who has CAP_SYS_ADMIN in it; not who lives "
            "in it already",
            "start it as the user who made that namespace",
        )
    return None


def needs_user(case: Case) -> "Finding":
    """Everything but a user namespace needs CAP_SYS_ADMIN: unshare(2), EPERM."""
    machine = case.machine
    if case.errno != EPERM or case.plan.user is not None or machine.capable():
        return None
    if not case.call.startswith(("unshare(", "mount(", "sethostname")):
        return None
    root = machine.ids()[0] == 0
    why = (
        f"root is without CAP_SYS_ADMIN here (CapEff {machine.status('CapEff')}), as in a container"
        if root
        else "an ordinary user may do this only in a user namespace of its own"
    )
    call, errno = machine.tried(CLONE_NEWUSER | FLAGS.get(case.unshared, 0))
    if not errno:
        return why, f"add user to the list: {case.list_with_user()}"
    plan = Plan()
    plan.user = "root"
    found = find(Case(case.text, plan, "user", call, errno, "", machine))
    why += f"; and {call} fails too ({errorcode.get(errno, errno)})"
    if found:
        return f"{why}: {found[0]}", f"{found[1]} (and add user to the list)"
    grant = "run the container with --cap-add=SYS_ADMIN" if root else "let root start it"
    return why, grant


def not_dumpable(case: Case) -> "Finding":
    """The files of such a process in /proc belong to root: proc(5), PR_SET_DUMPABLE(2const)."""
    machine = case.machine
    named = "/proc/self/" in case.call or "DUMPABLE" in case.call
    if case.errno not in (EACCES, EPERM) or not named or machine.dumpable():
        return None
    from os import R_OK, access, getxattr, readlink

    program = readlink(machine.path("/proc/self/exe"))
    why = f"this process is not dumpable, so that its files in /proc belong to root: {program} "
    try:
        capabilities = bool(getxattr(program, "security.capability"))
    except OSError:
        capabilities = False
    if capabilities:
        return f"{why}has file capabilities", f"sudo setcap -r {program}"
    if not access(program, R_OK):
        return f"{why}may not be read by this user", f"sudo chmod a+r {program}"
    return f"{why}or a library made it so", "prctl(PR_SET_DUMPABLE, 1) before the hook runs"


def root_map(case: Case) -> "Finding":
    """Mapping the root around one needs CAP_SETFCAP there: user_namespaces(7), since Linux 5.12."""
    if case.errno != EPERM or case.call != "write(/proc/self/uid_map)":
        return None
    machine = case.machine
    uid = machine.ids()[0]
    # Once inside, the id is one that is not mapped yet: then it is what is left to be the cause.
    had = uid == 0 and machine.capable(CAP_SETFCAP)
    if had or machine.older_than("5.12") or (uid != 0 and machine.mapped("uid", uid)):
        return None
    return (
        "uid 0 without CAP_SETFCAP, as after caps=none or in some containers, may not map itself "
        "into a user namespace (since Linux 5.12)",
        "give the outer list user=current instead of user, or leave its caps=none out",
    )


def masked(case: Case) -> "Finding":
    """A fresh proc or sysfs may show no more than the one there is: mount_namespaces(7)."""
    kind = {"proc": "proc", "sys": "sysfs"}.get(case.item) or (
        "proc" if case.call == "mount(/proc)" else "sysfs" if case.call == "mount(/sys)" else ""
    )
    if case.errno != EPERM or not kind:
        return None
    where = "/sys" if kind == "sysfs" else "/proc"
    mounts = case.machine.mounts()
    covers = [
        path
        for path, type_, _ in mounts
        if path.startswith(where + "/") and type_ not in HARMLESS and "/fs/cgroup" not in path
    ]
    readonly = [path for path, type_, how in mounts if type_ == kind and "ro" in how.split(",")]
    cure = "leave sys out of the list" if kind == "sysfs" else "add proc=keep to the list"
    cure += "; or docker run --security-opt systempaths=unconfined ..., "
    cure += "podman run --security-opt unmask=ALL ..."
    if kind == "proc" and case.plan.pid is None:
        return (
            "a fresh /proc shows a PID namespace, and this process has none of its own",
            "add pid to the list",
        )
    if kind == "sysfs" and case.plan.net is None:
        return (
            "a fresh /sys shows a network namespace, and this process has none of its own",
            "add net to the list",
        )
    if not any(type_ == kind for _, type_, _ in mounts):
        return f"no {where} is mounted here to begin with", f"mount -t {kind} {kind} {where}"
    if covers:
        shown = ", ".join(covers[:3]) + (", ..." if len(covers) > 3 else "")
        return f"parts of {where} are masked, as in a container ({shown} mounted over it)", cure
    if readonly:
        return f"{where} is mounted read-only, as in a container", cure
    return None


def clock(case: Case) -> "Finding":
    """No clock can go below zero, or beyond its end: time_namespaces(7), ERANGE."""
    if case.errno != ERANGE or "timens_offsets" not in case.call:
        return None
    from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime

    for name, number in (("monotonic", CLOCK_MONOTONIC), ("boottime", CLOCK_BOOTTIME)):
        offset = getattr(case.plan, name)
        now = int(clock_gettime(number))
        if offset is not None and offset < -now * 10**9:
            return (
                f"the {name} clock stands at {now} seconds, and cannot go below 0",
                f"{name}=-{now} at the most",
            )
        if offset is not None and offset >= (MAX_OFFSET - now) * 10**9:
            return (
                f"the {name} clock stands at {now} seconds, and cannot go beyond {MAX_OFFSET}",
                f"{name}=+{MAX_OFFSET - now} at the most",
            )
    return None


def too_old(case: Case) -> "Finding":
    """A file system or system call that this kernel has not."""
    machine = case.machine
    release = machine.release()
    if case.item == "overlay" and machine.older_than("5.11") and case.errno in (EPERM, EINVAL):
        return (
            f"Linux {release} keeps overlays to root; since 5.11 an ordinary user may",
            "a kernel of version 5.11 or later, or a list without overlay",
        )
    if (
        case.errno == ENODEV
        and case.item == "overlay"
        and "overlay" not in machine.read("/proc/filesystems").split()
    ):
        return "this kernel has no overlay file system loaded", "sudo modprobe overlay"
    if case.errno == ENOSYS and case.call:
        name = case.call.partition("(")[0]
        needed = "5.12" if name == "mount_setattr" else "5.2" if name in MOUNT_CALLS else ""
        return (
            f"this kernel, {release}, has no system call {name}"
            + (f"; Linux {needed} has" if needed else ""),
            f"a kernel of version {needed} or later" if needed else "a newer kernel",
        )
    return None


def used_up(case: Case) -> "Finding":
    """Limits of processes, descriptors and memory: fork(2), open(2), getrlimit(2)."""
    machine = case.machine
    if case.errno == EAGAIN:
        path = machine.read("/proc/self/cgroup").rpartition("::")[2].splitlines()
        most = machine.read(f"/sys/fs/cgroup{path[0] if path else ''}/pids.max")
        now = machine.read(f"/sys/fs/cgroup{path[0] if path else ''}/pids.current")
        if most.isdigit() and now.isdigit() and int(now) >= int(most):
            return (
                f"the control group allows {most} processes, and all are in use",
                "raise TasksMax= of the unit, or docker run --pids-limit=NUMBER",
            )
        limit = machine.limit("Max processes")
        return f"the user may have {limit} processes (RLIMIT_NPROC)", "ulimit -u unlimited"
    if case.errno == EMFILE:
        limit = machine.limit("Max open files")
        return f"the process may have {limit} open files (RLIMIT_NOFILE)", "ulimit -n 1024"
    if case.errno == ENOMEM:
        limit = machine.limit("Max address space")
        if limit.isdigit():
            return (
                f"the process may have {limit} bytes of memory (RLIMIT_AS)",
                "ulimit -v unlimited",
            )
    if case.errno == EROFS and case.call.find("/proc/") >= 0:
        return "/proc is mounted read-only", "mount -o remount,rw /proc (as root)"
    return None


def no_such_path(case: Case) -> "Finding":
    """What the list names is not there, or no namespace."""
    path = getattr(case.plan, case.item.replace("-", "_"), None)
    path = path if isinstance(path, str) and path[:1] == "/" else ""
    if case.errno == ENOENT and path and not case.machine.exists(path):
        return (
            f"there is no file {show(path)}",
            f"{'ip netns list' if case.item == 'net' else 'lsns -t ' + FILES[case.item]} (shows "
            "those that there are)",
        )
    return None


def plain_chroot(case: Case) -> "Finding":
    """What is left for EPERM of unshare(CLONE_NEWUSER) once the others are ruled out."""
    if case.errno != EPERM or case.unshared != "user" or not case.machine.mounts():
        return None
    return (
        "no setting forbids it here: most likely this process is in a chroot whose root is a mount "
        "point, where the kernel gives no user namespace, or a security module forbids it",
        "enter the tree by a mount namespace instead: bwrap --dev-bind TREE / COMMAND",
    )


CAUSES: "tuple[Callable[[Case], Finding], ...]" = (
    no_proc,
    threads,
    not_quite_linux,
    no_such_namespace,
    missing_program,
    no_tun,
    seccomp,
    chroot,
    unmapped,
    switched_off,
    too_many_mounts,
    limits,
    joining,
    needs_user,
    not_dumpable,
    apparmor,
    root_map,
    masked,
    clock,
    too_old,
    used_up,
    no_such_path,
    selinux,
    plain_chroot,
)

WHOLE = True
