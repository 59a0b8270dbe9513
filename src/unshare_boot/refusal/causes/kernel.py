"""What this kernel lacks: older ones, ones built with less, and those that are not quite Linux."""

from errno import ENODEV

from ...errors import shown
from ...namespaces import NAMESPACES
from .case import Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .case import Finding

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

SYSTEM_CALLS = {  # the kernel that each came with
    "fsconfig": "5.2",
    "fsmount": "5.2",
    "fsopen": "5.2",
    "mount_setattr": "5.12",
    "move_mount": "5.2",
}

# What gVisor's /proc/version says unless it is told otherwise: the build date of its first day.
GVISOR = "#1 SMP Sun Jan 10 15:06:54 PST 2016"


def gvisor(case: Case) -> "Finding":
    """A kernel in user space that answers some of Linux's system calls."""
    if not case.call:
        return None
    machine = case.machine
    version = machine.read("/proc/version")
    signs = f"{version} {machine.release()} {machine.read('/proc/cmdline')}".lower()
    if "gvisor" not in signs and GVISOR not in version:
        return None
    return (
        f"the kernel here is gVisor (/proc/version: {shown(version)}), which lacks parts "
        "of Linux's namespaces",
        "run the container with Linux's own kernel: docker run --runtime=runc ...",
    )


def wsl_1(case: Case) -> "Finding":
    """Windows' answer to some of Linux's system calls."""
    if not case.call:
        return None
    machine = case.machine
    release = machine.release()
    signs = f"{machine.read('/proc/version')} {release} {machine.read('/proc/cmdline')}".lower()
    if "microsoft" not in signs or not release.startswith(("4.4.", "3.4.")):
        return None
    return (
        f"the kernel here is WSL 1 ({release}), which has no user or network namespaces; WSL 2 has",
        "wsl.exe --set-version DISTRIBUTION 2",
    )


def no_such_namespace(case: Case) -> "Finding":
    """The kernel is too old, or was built without this namespace: namespaces(7)."""
    machine, name = case.machine, case.unshared or case.item
    if name not in NAMESPACES or case.path_to_join():
        return None
    file = f"/proc/self/ns/{NAMESPACES[name].file}"
    if machine.exists(file) or not machine.exists("/proc/self/ns"):
        return None
    version, option = KERNELS[name]
    if machine.older_than(version):
        return (
            f"Linux {machine.release()} has no {name} namespaces (there is no {file}); {version} "
            "has",
            f"a kernel of version {version} or later, or a list without {name}",
        )
    return (
        f"this kernel, {machine.release()}, was built without {name} namespaces (there is no "
        f"{file})",
        f"a kernel built with {option}=y, or a list without {name}",
    )


def overlay_for_root(case: Case) -> "Finding":
    """Mounting an overlay in a user namespace: Linux 5.11."""
    machine = case.machine
    if case.item != "overlay" or not machine.older_than("5.11"):
        return None
    if case.errno == ENODEV and case.plan.user is None:
        return None  # root's are there once they are loaded
    return (
        f"Linux {machine.release()} keeps overlays to root; since 5.11 an ordinary user may",
        "a kernel of version 5.11 or later, or a list without overlay",
    )


def no_overlay(case: Case) -> "Finding":
    """Which file systems there are: filesystems(5)."""
    if case.item != "overlay" or "overlay" in case.machine.read("/proc/filesystems").split():
        return None
    return "this kernel has no overlay file system loaded", "sudo modprobe overlay"


def no_interfaces(case: Case) -> "Finding":
    """The gate takes a pair of veth(4) interfaces, and a packet(7) socket."""
    module = {"AF_PACKET": "af_packet", "RTM_NEWLINK, veth": "veth"}.get(case.target)
    if module is None:
        return None
    what = "packet(7) sockets" if module == "af_packet" else "veth(4) interfaces"
    return (
        f"this kernel has no {what} loaded, which net=gate takes",
        f"sudo modprobe {module}; in a container, on the host",
    )


def socketcall(case: Case) -> "Finding":
    """What the C library makes sockets by: seccomp(2) sees no family in socketcall(2)."""
    missing = [name for name in ("user", "net") if getattr(case.plan, name) is None]
    more = f"; and add {','.join(missing)} to the list" if missing else ""
    return (
        "the C library of this machine makes sockets by socketcall(2), where a filter cannot tell "
        "unix(7) ones from others",
        f"leave sockets=unix out of the list{more}",
    )


def no_ipv6(case: Case) -> "Finding":
    """IPv6 can be switched off for the machine, or for network namespaces: ipv6(7)."""
    if case.item != "addr" or "RTM_NEWADDR" not in case.target:
        return None
    machine = case.machine
    others = "or have no IPv6 addresses in the list"
    if not machine.exists("/proc/sys/net/ipv6"):
        return (
            "IPv6 is switched off in this kernel (there is no /proc/sys/net/ipv6)",
            f"start the kernel without ipv6.disable=1, {others}",
        )
    # That of a new one is always what the kernel was started with: net/ipv6/addrconf.c.
    if machine.number("/proc/sys/net/ipv6/conf/lo/disable_ipv6") == 1:
        return (
            "IPv6 is switched off in new network namespaces (net.ipv6.conf.lo.disable_ipv6 is 1)",
            f"start the kernel without ipv6.disable_ipv6=1, {others}",
        )
    return None


def no_system_call(case: Case) -> "Finding":
    """ENOSYS: what a kernel answers to a system call that came after it."""
    if not case.call:
        return None
    needed = SYSTEM_CALLS.get(case.call, "")
    return (
        f"this kernel, {case.machine.release()}, has no system call {case.call}"
        + (f"; Linux {needed} has" if needed else ""),
        f"a kernel of version {needed} or later" if needed else "a newer kernel",
    )


WHOLE = True
