"""What is mounted, and what is not: proc(5), sysfs(5), mount_namespaces(7)."""

import os
from errno import ENOENT

from ...errors import shown
from ...language.readers import escaped
from ...procfiles import is_below
from ..engines import engine
from .case import Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...procfiles import Mount
    from .case import Finding

# What is mounted below /proc and /sys where nothing is masked: on directories made for it, which
# the kernel does not count (fs/namespace.c, mnt_already_visible).
HARMLESS = (
    *("autofs", "binfmt_misc", "bpf", "configfs", "debugfs", "efivarfs", "fusectl", "nfsd"),
    *("pstore", "resctrl", "rpc_pipefs", "securityfs", "selinuxfs", "tracefs"),
)
MOST_DEPTH = 2  # FILESYSTEM_MAX_STACK_DEPTH, include/linux/fs.h
MOST_SHOWN = 3  # paths in a message


def _instead(case: Case, where: str) -> str:
    """Return what to do where a fresh one is refused."""
    words = engine(case.machine.container())
    way = words.proc if where == "/proc" else words.sys
    item = "add proc=keep to the list" if where == "/proc" else "leave sys out of the list"
    return f"{item} (or {way})" if way else item


def no_proc(case: Case) -> "Finding":
    """Nothing is mounted on /proc."""
    if case.target[:6] != "/proc/" or case.machine.exists("/proc/self/status"):
        return None
    return (
        "/proc is not mounted here (there is no /proc/self/status)",
        "mount -t proc proc /proc (as root, in the tree where this program runs)",
    )


def read_only_proc(case: Case) -> "Finding":
    """A file of /proc could not be written."""
    if case.target[:6] != "/proc/":
        return None
    return "/proc is mounted read-only", "mount -o remount,rw /proc (as root)"


def fresh_without_namespace(case: Case) -> "Finding":
    """A process may mount a proc or sysfs for a namespace that its user namespace owns."""
    where = _fresh(case)
    if where == "/proc" and case.plan.pid is None:
        return (
            "a fresh /proc shows a PID namespace, and this process has none of its own",
            "add pid to the list",
        )
    if where == "/sys" and case.plan.net is None:
        return (
            "a fresh /sys shows a network namespace, and this process has none of its own",
            "add net to the list",
        )
    return None


def none_to_begin_with(case: Case) -> "Finding":
    """A fresh one may show no more than one that is there already, so that has to be there."""
    where = _fresh(case)
    kind = {"/proc": "proc", "/sys": "sysfs"}.get(where)
    if not where or any(each.kind == kind for each in case.machine.mounts()):
        return None
    if case.errno == ENOENT:
        return f"there is no directory {where} here", f"leave {case.item} out of the list"
    return f"no {where} is mounted here to begin with", f"mount -t {kind} {kind} {where}"


def processes_only(case: Case) -> "Finding":
    """The /proc that is there shows processes alone, proc(5), subset=pid; checked since Linux 7."""
    subset = any(
        each.kind == "proc" and "subset=pid" in each.shared_options
        for each in case.machine.mounts()
    )
    if _fresh(case) != "/proc" or not subset:
        return None
    return (
        "the /proc here shows processes alone (subset=pid), and a fresh one would show more",
        _instead(case, "/proc"),
    )


def masked(case: Case) -> "Finding":
    """The one that is there is partly covered, and a fresh one would not be."""
    where = _fresh(case)
    covers = [
        each.point
        for each in case.machine.mounts()
        if each.point.startswith(where + "/")
        and each.kind not in HARMLESS
        and "/fs/cgroup" not in each.point
    ]
    if not where or not covers:
        return None
    shown = ", ".join(covers[:MOST_SHOWN]) + (", ..." if len(covers) > MOST_SHOWN else "")
    return (
        f"parts of {where} are masked, as in a container ({shown} mounted over it)",
        _instead(case, where),
    )


def read_only(case: Case) -> "Finding":
    """The one that is there is read-only, and a fresh one would not be."""
    where = _fresh(case)
    kind = {"/proc": "proc", "/sys": "sysfs"}.get(where)
    mounts = case.machine.mounts()
    if not where or not any(each.kind == kind and "ro" in each.options for each in mounts):
        return None
    return f"{where} is mounted read-only, as in a container", _instead(case, where)


def covers_python(case: Case) -> "Finding":
    """An item covers what Python starts from; what is below it can stay, by another item."""
    from ...items.needed import KEPT_BY, covered, needed

    stays = KEPT_BY.get(case.item, "")
    if case.call or case.item not in ("tmpfs", "hide", "bind"):
        return None
    lost = {path.rstrip("/") for path in covered(case.plan, needed())}
    tops = [each for each in sorted(lost) if not any(each.startswith(f"{o}/") for o in lost)]
    why = f"{', '.join(map(shown, tops))} would be gone before the program's first import"
    covers = [os.path.realpath(o[1]) for o in case.plan.operations if o[0] == case.item]
    if not stays or any(os.path.realpath(each) != each or each in covers for each in tops):
        return why, f"leave {case.item} out, or have it cover other directories, one by one"
    return why, f"add {','.join(f'{stays}={escaped(each)}' for each in tops)} to the list"


def overlays_too_deep(case: Case) -> "Finding":
    """An overlay's layers may be overlays, but not theirs: FILESYSTEM_MAX_STACK_DEPTH, fs.h."""
    for name, *paths in case.plan.operations:
        path = os.path.realpath(paths[0]) if name == "overlay" else ""
        if path and _depth(case.machine.mounts(), path) >= MOST_DEPTH:
            return (
                f"{shown(path)} is an overlay on an overlay already, and the kernel has no third "
                "on these",
                "name it once, or have it on a file system that is no overlay (of a container: a "
                "volume)",
            )
    return None


def _depth(mounts: "list[Mount]", path: str) -> int:
    """Return how many overlays are upon each other at a path."""
    over = [each for each in mounts if is_below(f"{path}/", each.point)]
    over.sort(key=lambda each: len(each.point))  # what is mounted last on a point stays last
    depth = 0
    while over and over.pop().kind == "overlay":
        depth += 1
    return depth


def _fresh(case: Case) -> str:
    """Return where a fresh proc or sysfs was refused; empty if it was something else."""
    if case.item in ("proc", "sys"):
        return f"/{case.item}"
    return case.target if case.target in ("/proc", "/sys") else ""


WHOLE = True
