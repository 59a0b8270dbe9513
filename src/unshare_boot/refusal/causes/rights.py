"""Who may do it: capabilities(7), user_namespaces(7), setns(2), chroot(2)."""

import os
from errno import EPERM, errorcode

from ...namespaces import Plan
from ..engines import engine
from ..machine import CAP_NET_ADMIN, CAP_NET_RAW, CAP_SETFCAP, CAP_SYS_ADMIN
from .case import Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from .case import Finding

    Find = Callable[[Case], Optional[tuple[str, str, str]]]

MAPPERS = "newuidmap", "newgidmap"
MAPPERS_BY_FILE = {"SETGID": 6, "SETUID": 7}  # include/uapi/linux/capability.h
MAPPERS_BY_ROOT = {"DAC_OVERRIDE": 1, **MAPPERS_BY_FILE, "SYS_ADMIN": CAP_SYS_ADMIN}
ACTIVE = "PY_UNSHARE_ACTIVE"  # what an outer start has entered
OTHER_WAY_IN = "enter the tree by a mount namespace instead: bwrap --dev-bind TREE / COMMAND"


def needs_user(case: Case, find: "Find") -> "Finding":
    """Everything but a user namespace needs CAP_SYS_ADMIN.

    Args:
        case: the refusal.
        find: looks for the cause of another one, where a user namespace is refused as well.
    """
    machine = case.machine
    lacking = no_right_without_user(case)
    if lacking is None:
        return None
    why, cure = lacking
    error = machine.try_user(case.unshared)
    if error is None:
        return why, cure
    plan = Plan()
    plan.user = "root"
    error.item = "user"
    found = find(Case(case.text, plan, error, machine))
    why += f"; and {error.call} fails too ({errorcode.get(error.errno or 0, error.errno)})"
    if found:
        return f"{why}: {found[1]}", f"{cure}; and {found[2]}"
    grant = "let root start it"
    if machine.ids()[0] == 0:
        grant = engine(machine.container()).grant("SYS_ADMIN")
    return why, grant


def no_right_without_user(case: Case) -> "Finding":
    """Tell whether the list lacks ``user``, without trying what it would come to with it."""
    machine = case.machine
    if case.plan.user is not None or machine.capable():
        return None
    why = (
        f"root lacks CAP_SYS_ADMIN here (CapEff {machine.status('CapEff')}), as in a container"
        if machine.ids()[0] == 0
        else "an ordinary user may do this only in a user namespace of its own"
    )
    return why, f"add user to the list: {case.list_with_user()}"


def network_rights(case: Case) -> "Finding":
    """A network namespace without a user namespace of its own: netdevice(7), packet(7)."""
    machine = case.machine
    needed = {"NET_ADMIN": CAP_NET_ADMIN}
    if case.plan.net == "gate":
        needed["NET_RAW"] = CAP_NET_RAW
    missing = [name for name, number in needed.items() if not machine.capable(number)]
    if case.plan.user is not None or not missing:
        return None
    why = (
        f"root lacks CAP_{' and CAP_'.join(missing)} here (CapEff {machine.status('CapEff')}), as "
        "in a container: it may make a network namespace, but not set it up"
    )
    grant = engine(machine.container()).grant(*missing)
    if case.plan.net == "lo":
        grant += ", or have lo stay down: net=down"
    if machine.try_user() is None:
        return why, f"add user to the list: {case.list_with_user()}, or {grant}"
    return why, grant


def debian_switch(case: Case) -> "Finding":
    """A setting of Debian's kernels."""
    path = "/proc/sys/kernel/unprivileged_userns_clone"
    if case.unshared != "user" or case.machine.number(path) != 0 or case.machine.capable():
        return None
    return (
        "kernel.unprivileged_userns_clone is 0: only root may make user namespaces here",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    )


def chroot(case: Case) -> "Finding":
    """No user namespace in a chroot: user_namespaces(7), clone(2) EPERM; mount(2) EINVAL."""
    if case.errno == EPERM:
        what = "the kernel gives no user namespace" if case.unshared == "user" else ""
    else:
        what = "its mounts cannot be made private" if case.target == "/" else ""
    mounts = case.machine.mounts() if what else []
    if not mounts or any(each.point == "/" for each in mounts):
        return None
    return (
        f"this process is in a chroot (/ is no mount point in /proc/self/mountinfo): {what} there",
        OTHER_WAY_IN,
    )


def chroot_or_module(case: Case) -> "Finding":
    """What is left to explain it once the others are ruled out."""
    if case.unshared != "user" or not case.machine.mounts():
        return None
    return (
        "no setting forbids it here: most likely this process is in a chroot whose root is a mount "
        "point, where the kernel gives no user namespace, or a security module forbids it",
        OTHER_WAY_IN,
    )


def unmapped_id(case: Case) -> "Finding":
    """Whoever makes a user namespace needs an id in the one around it: clone(2) EPERM."""
    if case.unshared != "user":
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


def root_without_setfcap(case: Case) -> "Finding":
    """Mapping the root around one needs CAP_SETFCAP there: user_namespaces(7), since Linux 5.12."""
    if case.target != "/proc/self/uid_map":
        return None
    machine = case.machine
    uid = machine.ids()[0]
    # Once inside, the id is one that is not mapped yet: then it is what is left to be the cause.
    has_it = uid == 0 and machine.capable(CAP_SETFCAP)
    if has_it or machine.older_than("5.12") or (uid != 0 and machine.mapped("uid", uid)):
        return None
    what = "may not map itself into a user namespace (since Linux 5.12)"
    if "user=" in os.environ.get(ACTIVE, ""):
        return (
            f"uid 0 without CAP_SETFCAP, as after caps=none, {what}",
            "leave caps=none out of the outer list (offline,caps=keep), or give that user=current "
            "instead of user where an ordinary user starts it",
        )
    words = engine(machine.container())
    return (
        f"uid 0 without CAP_SETFCAP, as in a container that drops all capabilities, {what}",
        f"{words.grant('SETFCAP')}, or not as root: {words.user}",
    )


def faked_ids(case: Case) -> "Finding":
    """A library that was loaded first answers geteuid(2) in the kernel's place: fakeroot(1)."""
    machine = case.machine
    if case.target not in ("/proc/self/uid_map", "/proc/self/gid_map") or machine.root:
        return None
    if machine.ids() == (os.geteuid(), os.getegid()):
        return None
    return (
        f"a library of LD_PRELOAD, such as fakeroot's, says that this is uid {os.geteuid()}, which "
        "the kernel knows to be another",
        f"fakeroot inside, not outside: unshare-boot run {case.quoted()} -- fakeroot COMMAND",
    )


def program_without_privileges(case: Case) -> "Finding":
    """newuidmap(1) and newgidmap(1) have what this user lacks by their files: execve(2)."""
    path, _, bounding = case.target.rpartition(" ")
    name = path.rpartition("/")[2]
    if name not in MAPPERS:
        return None
    machine = case.machine
    words = engine(machine.container())
    if machine.status("NoNewPrivs") == "1":
        return f"no_new_privs is set here, with which {name} gets no privileges", words.privileges
    if machine.status("TracerPid") not in ("", "0"):
        return (
            f"this process is traced, by {machine.status('TracerPid')}, and then {name} gets no "
            "privileges",
            "have root trace it: sudo strace --user=USER -f COMMAND",
        )
    point = machine.mounted_nosuid(path)
    if point:
        return (
            f"{path} is on a file system that is mounted nosuid, {point}, and gets no privileges",
            f"sudo mount -o remount,bind,suid {point}",
        )
    setuid = machine.setuid(path)
    if not setuid and not machine.has_capabilities(path):
        return f"{path} is not setuid, and has no file capabilities", f"sudo chmod u+s {path}"
    has = int(bounding or "0", 16)
    needed = MAPPERS_BY_ROOT if setuid else MAPPERS_BY_FILE
    missing = [name for name, number in needed.items() if not has >> number & 1]
    if not missing:
        return None
    cure = words.grant(*missing)
    if missing == ["SYS_ADMIN"] and has >> CAP_SETFCAP & 1:
        cure += f", or as root: it takes no {name}"
    return (
        f"{name} needs CAP_{', CAP_'.join(missing)}, which nobody gets here (CapBnd {bounding}), "
        "as in a container",
        cure,
    )


def joining_a_process(case: Case) -> "Finding":
    """The files of /proc/PID/ns are for who may trace that process: ptrace(2)."""
    path = case.path_to_join()
    pid = path.split("/")[2] if path.startswith("/proc/") else ""
    if not pid.isdigit():
        return None
    owner, own = case.machine.owner(f"/proc/{pid}"), case.machine.ids()[0]
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


WHOLE = True
