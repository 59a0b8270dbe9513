"""What it is about the process, or its clocks: unshare(2), proc(5), time_namespaces(7)."""

import os
import shlex
from errno import EINVAL, EISDIR, ENOENT, ENXIO, EUSERS

from ...language.readers import MAX_OFFSET
from .case import Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .case import Finding

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


def threads(case: Case) -> "Finding":
    """unshare(2), setns(2): not with threads."""
    # In other words than the kernel's: it was found out before the kernel was asked.
    known = case.target == "CLONE_THREAD" and case.errno == EINVAL
    known = known and case.reason != os.strerror(EINVAL)
    count = case.machine.threads()
    refused = case.errno == (EUSERS if case.call == "setns" else EINVAL)
    if not known and not (refused and count > 1):
        return None
    why = "the kernel lets only a process with a single thread in"
    if not known:  # else the refusal itself says how many there are, and what is in the way
        why = f"this process has {count} threads (/proc/self/task), and {why}"
    return (
        why,
        "call unshare_boot.boot() or unshare_boot.unshare() before the first thread starts, or "
        f"wrap the command: unshare {_wrapper_options(case)} COMMAND",
    )


def _wrapper_options(case: Case) -> str:
    plan = case.plan
    options = {name: WRAPPER[name] for name in plan.asked()}
    if plan.user == "current":
        options["user"] = "--map-current-user"
    return " ".join(options.values())


def not_dumpable(case: Case) -> "Finding":
    """The files of such a process in /proc belong to root: proc(5), PR_SET_DUMPABLE(2const)."""
    machine = case.machine
    about_it = "/proc/self/" in case.target or "DUMPABLE" in case.target
    if not about_it or machine.dumpable():
        return None
    program = os.readlink(machine.path("/proc/self/exe"))
    why = f"this process is not dumpable, so that its files in /proc belong to root: {program} "
    try:
        capabilities = bool(os.getxattr(program, "security.capability"))
    except OSError:
        capabilities = False
    if capabilities:
        return f"{why}has file capabilities", f"sudo setcap -r {program}"
    if not os.access(program, os.R_OK):
        return f"{why}may not be read by this user", f"sudo chmod a+r {program}"
    return f"{why}or a library made it so", "prctl(PR_SET_DUMPABLE, 1) before the hook runs"


ANOTHER = "name a file in a directory that this user may write, such as record=/tmp/attempts.jsonl"


def no_record(case: Case) -> "Finding":
    """The file of ``record`` cannot be opened: open(2), fifo(7)."""
    path = case.plan.record
    if case.item != "record" or not path:
        return None
    directory = os.path.dirname(os.path.abspath(path))
    if case.errno == ENXIO:
        return f"{path} is a FIFO or a device that nobody reads", "start what reads it first"
    if case.errno == EISDIR:
        return f"{path} is a directory", f"name a file in it: record={path}/attempts.jsonl"
    if case.errno == ENOENT:
        above = directory
        while not os.path.exists(above):
            above = os.path.dirname(above)
        can_make = os.access(above, os.W_OK | os.X_OK)
        return (
            f"there is no directory {directory}",
            f"mkdir -p {shlex.quote(directory)}" if can_make else ANOTHER,
        )
    here = path if os.path.exists(path) else directory
    return f"this user may not write {here}", ANOTHER


def clock_out_of_range(case: Case) -> "Finding":
    """No clock can go below zero, or beyond its end: time_namespaces(7), ERANGE."""
    if not case.target.endswith("/timens_offsets"):
        return None
    from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime

    for name, number in (("monotonic", CLOCK_MONOTONIC), ("boottime", CLOCK_BOOTTIME)):
        offset = getattr(case.plan, name)
        now = int(clock_gettime(number))
        if offset is not None and offset < -now * 10**9:
            return (
                f"the {name} clock is at {now} seconds, and cannot go below 0",
                f"{name}=-{now} at the most",
            )
        if offset is not None and offset >= (MAX_OFFSET - now) * 10**9:
            return (
                f"the {name} clock is at {now} seconds, and cannot go beyond {MAX_OFFSET}",
                f"{name}=+{MAX_OFFSET - now} at the most",
            )
    return None


WHOLE = True
