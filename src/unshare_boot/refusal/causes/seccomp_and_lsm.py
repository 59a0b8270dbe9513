"""Who answers before the kernel's own rules do: seccomp(2) filters, AppArmor, SELinux."""

import os
from errno import EACCES, EPERM

from ...errors import shown
from ...namespaces import NAMESPACES
from ..engines import ENGINES, engine
from .case import Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..machine import Machine
    from .case import Finding

DRIVERS_CALLS = {
    "pivot_root": "pivot_root",
    "Couldn't enter user namespace": "setns",
    "setns(": "setns",
}
OF_UNPRIVILEGED = "unprivileged_userns"  # the profile of what an ordinary program becomes
FLAG = "the flag attach_disconnected"  # for what has no path: a namespace, a mount of no directory
RULES = (
    f"in that profile {FLAG} and the rules capability, mount, umount, userns, none of them denied"
)
SETTING = "kernel.apparmor_restrict_unprivileged_userns"  # of Ubuntu alone


def seccomp(case: Case) -> "Finding":
    """A filter of whoever started this process answers in the kernel's place."""
    name, machine = case.call, case.machine
    flag = NAMESPACES[case.unshared].flag if case.unshared else 0
    if not machine.filtered(name, flag):
        return None
    return _forbidden(case, name)


def filter_of_hostnames(case: Case) -> "Finding":
    """What a list with a hostname would meet next, once it has a user namespace."""
    if not case.plan.uts or not case.machine.filters_hostnames():
        return None
    return _forbidden(case, "sethostname")


def _forbidden(case: Case, name: str) -> "tuple[str, str]":
    container = case.machine.container()
    cure = engine(container).seccomp.format(f"{name}(2)")
    lacks_it = case.plan.user is not None or case.call != name  # else it has CAP_SYS_ADMIN
    if name == "sethostname" and lacks_it:
        cure = f"{engine(container).grant('SYS_ADMIN')}, or {cure}"
    if name == "sethostname":
        cure = f"uts without a name, or {cure}"
    if name == "unshare" and container == "Docker":
        cure += "; in docker build, which has no such option, sockets=unix works"
    return f"a seccomp filter forbids {name}(2) to this process: {_whose(container)}", cure


def filter_of_the_driver(case: Case) -> "Finding":
    """What pasta(1) and slirp4netns(1) are refused on their way; it is in their words."""
    if case.item != "net" or case.call or case.machine.status("Seccomp") != "2":
        return None
    refused = [
        call
        for words, call in DRIVERS_CALLS.items()
        if words in case.reason and os.strerror(EPERM) in case.reason
    ]
    if not refused:
        return None
    container = case.machine.container()
    return (
        f"a seccomp filter forbids {refused[0]}(2), which {case.plan.net} takes: "
        f"{_whose(container)}",
        engine(container).seccomp.format(f"{refused[0]}(2)"),
    )


def _whose(container: str) -> str:
    """Tell whose filter it is; the default profile of an engine looks like any other."""
    if container == "systemd":
        return "what started it, such as a systemd unit with RestrictNamespaces=, set it up"
    if container in ENGINES:
        return f"the profile that {container} gives this container does"
    return "the container, sandbox or service that started it set that up"


def apparmor_on_ubuntu(case: Case) -> "Finding":
    """Since 23.10 Ubuntu restricts the user namespaces of ordinary programs."""
    if not (case.call or case.item):
        return None
    machine = case.machine
    name, mode = profile(machine)
    path = "/proc/sys/" + SETTING.replace(".", "/")
    # The file may be readable for root alone; that it is there says Ubuntu.
    restricted = machine.exists(path) and machine.read(path) in ("1", "")
    asked = case.plan.user is not None
    first = case.unshared == "user" and not machine.capable()
    later = case.unshared != "user" and machine.outer_uid() != 0  # root is not restricted
    if not (name == OF_UNPRIVILEGED and machine.exists(path)) and not (
        restricted and asked and (first or later) and mode != "(enforce)"
    ):
        return None
    gets = "no user namespace" if first else "a user namespace without any power in it"
    return (
        f"Ubuntu's AppArmor restriction ({SETTING}=1) gives an ordinary program {gets}",
        f"sudo sysctl -w {SETTING}=0 (or a profile for this interpreter alone, see "
        "docs/troubleshooting-machine.md)",
    )


def apparmor_profile(case: Case) -> "Finding":
    """A profile that confines this process: apparmor(7), apparmor.d(5)."""
    if not (case.call or case.item):
        return None
    name, mode = profile(case.machine)
    if mode == "(complain)":
        return _without_a_path(name) if case.errno == EACCES else None
    stacked = name.split("//&")  # one upon the other, apparmor(7)
    if mode not in ("(enforce)", "(mixed)") or (
        case.errno != EACCES and case.call != "mount" and OF_UNPRIVILEGED not in stacked
    ):
        return None
    lifted = engine(case.machine.container()).apparmor
    return (
        f"the AppArmor profile {shown(name)} confines this process",
        f"{lifted}, or {RULES}" if lifted else RULES,
    )


def _without_a_path(name: str) -> "tuple[str, str]":
    return (
        f"the AppArmor profile {shown(name)} only complains, and yet refuses files that have no "
        "path here, such as those of namespaces",
        f"{FLAG} in that profile",
    )


def profile(machine: "Machine") -> "tuple[str, str]":
    """Return the name of the AppArmor profile of this process, and its mode in parentheses."""
    profile = machine.read("/proc/self/attr/apparmor/current")
    if not profile and machine.read("/sys/module/apparmor/parameters/enabled") == "Y":
        profile = machine.read("/proc/self/attr/current")
    name, _, mode = profile.partition(" ")
    return name, mode


def landlock(case: Case) -> "Finding":
    """In a domain that has to do with files every mount is refused: landlock(7)."""
    if not case.machine.in_landlock_domain():
        return None
    mounts = [each[0] for each in case.plan.operations if each != ("proc",) or not case.plan.pid]
    names = [*(["pid"] if case.plan.pid is not None else []), *mounts] or ["mount"]
    return (
        "this process is in a Landlock domain, a sandbox in which nothing can be mounted",
        "start it outside of that sandbox, or leave out of the list what mounts something: "
        + ", ".join(dict.fromkeys(names)),
    )


def selinux(case: Case) -> "Finding":
    """SELinux can forbid user namespaces since Linux 6.1, by a permission of their own."""
    if case.machine.read("/sys/fs/selinux/enforce") != "1":
        return None
    context = case.machine.read("/proc/self/attr/current").strip("\0\n")
    why = f"SELinux is enforcing, and this process runs as {shown(context)}"
    domain = ([*context.split(":"), "", ""])[2]
    if case.unshared != "user" or not domain.replace("_", "").isalnum():
        return why, "sudo ausearch -m avc -ts recent (tells what was denied, see audit2allow(1))"
    rule = f"(allow {domain} self (user_namespace (create)))"
    return (
        f"{why}, which may make no user namespace",
        f"echo '{rule}' >unshare_boot.cil && sudo semodule -i unshare_boot.cil",
    )


WHOLE = True
