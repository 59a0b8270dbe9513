"""How each namespace is entered: plan to kernel. Knows nothing of the environment.

One function a namespace, under its name in namespaces(7) as the list spells it, in the fixed
order. What few lists ask for lives in a room of its own, loaded by the line that needs it.
"""

import os

from . import UnshareError
from .spec import NAMESPACES, Plan
from .syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    loopback_up,
    sethostname,
    setns,
    unshare,
    write_file,
)
from .syscalls import mount as mount_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    Step = Callable[[Plan], None]
    Report = Optional[Callable[[str], None]]

# The names of the files in /proc/self/ns.
FILES = {name: "mnt" if name == "mount" else name for name in NAMESPACES}

# The ids that this process had before user=none, while no map can tell.
unmapped: "tuple[int, int] | None" = None

PROPAGATION = {"private": MS_PRIVATE, "slave": MS_SLAVE, "shared": MS_SHARED}


def enter(plan: Plan, report: "Report" = None) -> "dict[str, int]":
    """Enter everything that the plan asks for, in the fixed order.

    With ``pid`` this returns in a child, which is the program; the process it was called in stays
    behind and supervises that.

    Args:
        plan: what to enter.
        report: called after each step with the item that the step was for.

    Returns:
        The names of the namespaces entered, each with its inode number.

    Raises:
        UnshareError: the first step that failed; those before it hold.
    """
    for item, step in steps(plan):
        try:
            step(plan)
        except UnshareError:
            raise
        except OSError as error:
            raise failed(item, error) from error
        if report:
            report(item)
    entered = {}
    for name in NAMESPACES:
        if getattr(plan, name) is not None:
            try:
                entered[name] = inode(name)
            except OSError as error:
                raise failed(name, error) from error
    return entered


def steps(plan: Plan) -> "list[tuple[str, Step]]":
    """Return what is to be done for a plan, in order, each step with the item that it is for."""
    wanted = [name for name in NAMESPACES if getattr(plan, name) is not None]
    joined = [name for name in wanted if getattr(plan, name)[:1] == "/"]
    todo = [(name, STEPS[name]) for name in wanted if name not in joined or name == "pid"]
    if joined:
        from .join import join

        todo.insert(0, ("join", join))
    if plan.net in ("pasta", "slirp4netns"):
        from .outbound import prepare

        todo.insert(0, ("net", prepare))
    if plan.operations:
        from .mounts import operate

        todo.append(("mount", operate))
    if plan.caps:
        from .capabilities import settle

        todo.append(("caps", settle))
    return todo


def user(plan: Plan) -> None:
    """user_namespaces(7): without a capability outside one may map one's own two ids, no more."""
    more = plan.map_users or plan.map_groups or plan.setgroups
    if more or plan.user not in ("root", "current", "none"):
        from .idmap import enter_mapped

        enter_mapped(plan)
        return
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER, "CLONE_NEWUSER")
    if plan.user == "none":
        global unmapped
        unmapped = uid, gid
    else:
        inner_uid, inner_gid = (0, 0) if plan.user == "root" else (uid, gid)
        write_file("/proc/self/setgroups", "deny")  # else gid_map may not be written
        write_file("/proc/self/uid_map", f"{inner_uid} {uid} 1")
        write_file("/proc/self/gid_map", f"{inner_gid} {gid} 1")


def net(plan: Plan) -> None:
    """network_namespaces(7): a new one has a loopback interface, and that is down."""
    unshare(CLONE_NEWNET, "CLONE_NEWNET")
    if plan.net != "down":
        loopback_up(use_libc=plan.mount is not None)
    if plan.addr:
        from .addresses import add

        add(plan.addr)
    if plan.net in ("pasta", "slirp4netns"):
        from .outbound import connect

        connect(plan)


def mount(plan: Plan) -> None:
    """mount_namespaces(7): a copy of the mounts, the shared ones of which still follow the host."""
    unshare(CLONE_NEWNS, "CLONE_NEWNS")
    if plan.mount in PROPAGATION:
        mount_call(None, "/", None, MS_REC | PROPAGATION[plan.mount])


def uts(plan: Plan) -> None:
    """uts_namespaces(7)."""
    unshare(CLONE_NEWUTS, "CLONE_NEWUTS")
    if plan.uts:
        sethostname(plan.uts)


def ipc(plan: Plan) -> None:
    """ipc_namespaces(7)."""
    unshare(CLONE_NEWIPC, "CLONE_NEWIPC")


def cgroup(plan: Plan) -> None:
    """cgroup_namespaces(7)."""
    unshare(CLONE_NEWCGROUP, "CLONE_NEWCGROUP")


def time(plan: Plan) -> None:
    """time_namespaces(7): the clocks of a new one are set until it has a member."""
    unshare(CLONE_NEWTIME, "CLONE_NEWTIME")
    clocks = (("monotonic", plan.monotonic), ("boottime", plan.boottime))
    lines = [f"{clock} {ns // 10**9} {ns % 10**9}\n" for clock, ns in clocks if ns is not None]
    if lines:
        write_file("/proc/self/timens_offsets", "".join(lines))
    setns("/proc/self/ns/time_for_children", CLONE_NEWTIME)


def pid(plan: Plan) -> None:
    """pid_namespaces(7): it is the children to come that live in a new one."""
    from .supervise import enter_pid

    enter_pid(plan)


STEPS: "dict[str, Step]" = {
    "user": user,
    "net": net,
    "mount": mount,
    "uts": uts,
    "ipc": ipc,
    "cgroup": cgroup,
    "time": time,
    "pid": pid,
}


def inode(name: str) -> int:
    """Return the inode number of the process's namespace of that name."""
    path = f"/proc/self/ns/{FILES[name]}"
    try:
        return os.stat(path).st_ino
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"stat({path})") from None


def failed(item: str, error: OSError) -> UnshareError:
    """Return the error of an item: what the kernel said of a system call made for it."""
    return UnshareError(error.errno or 0, error.strerror or "", item, str(error.filename or ""))
