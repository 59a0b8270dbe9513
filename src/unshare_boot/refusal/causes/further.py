"""What else is in the way of a list: the steps after the refused one would be refused as well.

Only what shows already is told, so that one message has all that there is to do.
"""

from errno import EACCES, ENOENT, ENOSPC, EPERM

from ...errors import UnshareError
from ...namespaces import NAMESPACES
from ..machine import Machine
from . import limits, mounts, rights, seccomp_and_lsm
from .case import Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .case import Look

    Why = tuple[str, str]  # why, and the cure

OTHER_KERNELS = ("gvisor", "wsl-1")  # what Linux would say there is no guide
IN_PLAIN_VIEW = "docker-default", "containers-default", "crio-default"  # all of them deny mount(2)
FULL_MAP = 2**32 - 1  # ids of the first user namespace


def also_in_the_way(case: Case, slug: str) -> "list[Why]":
    """Return what would be refused next, each with why and the cure.

    Args:
        case: the refusal.
        slug: of the cause that was found for it.
    """
    if slug in OTHER_KERNELS:
        return []
    looks: list[tuple[Look, Case]] = []
    if slug == "lists-without-user":  # which has tried it, with the kernel's ids
        looks.append((rights.faked_ids, _map_of_users(case)))
    elif case.call == "unshare":
        looks += _of_users(case, slug)
    if slug in ("lists-without-user", "root-that-cannot-map-itself"):
        looks.append((seccomp_and_lsm.filter_of_hostnames, case))
    looks += _of_mounts(case)
    found = [look(each) for look, each in looks]
    return [each for each in found if each]


def _of_users(case: Case, slug: str) -> "list[tuple[Look, Case]]":
    looks: list[tuple[Look, Case]] = [(rights.no_right_without_user, case)]
    if case.plan.user is None and case.machine.capable():
        if case.plan.net in ("lo", "gate"):  # others leave lo as it is
            looks.append((rights.network_rights, case))
        return looks
    if slug == "debian-switch":  # which does not forbid other namespaces
        other = _refused(case, "uts", "unshare", NAMESPACES["uts"].flag_name, EPERM)
        looks.append((seccomp_and_lsm.seccomp, other))
    else:
        user = _refused(case, "user", "unshare", NAMESPACES["user"].flag_name, EPERM)
        looks.append((rights.debian_switch, user))
    if slug != "namespaces-switched-off":
        looks += [
            (limits.switched_off, _refused(case, name, "unshare", row.flag_name, ENOSPC))
            for name, row in NAMESPACES.items()
            if name == "user" or name in case.plan.asked()
        ]
    if case.plan.user != "none" and "user" not in case.plan.joined():
        looks.append((_cannot_map, _map_of_users(case)))
    return looks


def _map_of_users(case: Case) -> Case:
    return _refused(case, "user", "write", "/proc/self/uid_map", EPERM)


def _cannot_map(case: Case) -> "Why | None":
    faked = rights.faked_ids(case)
    if faked or case.machine.ids()[0] != 0:
        return faked
    return rights.root_without_setfcap(case)


def _of_mounts(case: Case) -> "list[tuple[Look, Case]]":
    if case.plan.user is None and case.machine.capable() and _is_first(case.machine):
        return []  # root of the first user namespace mounts what it likes
    looks: list[tuple[Look, Case]] = []
    profile = seccomp_and_lsm.profile(case.machine)[0]
    if case.plan.mount is not None and case.call != "mount" and profile in IN_PLAIN_VIEW:
        looks.append((seccomp_and_lsm.apparmor_profile, _refused(case, "", "mount", "/", EACCES)))
    for name in ("proc", "sys"):
        if (name,) in case.plan.operations and case.target != f"/{name}":
            number = EPERM if case.machine.exists(f"/{name}") else ENOENT
            looks.append((_no_fresh, _refused(case, name, "mount", f"/{name}", number)))
    return looks


def _no_fresh(case: Case) -> "Why | None":
    found = mounts.masked(case) or mounts.read_only(case) or mounts.none_to_begin_with(case)
    return None if found and case.machine.mounts_fresh(case.item) else found


def _is_first(machine: Machine) -> bool:
    return machine.read("/proc/self/uid_map").split() == ["0", "0", str(FULL_MAP)]


def _refused(case: Case, item: str, call: str, target: str, number: int) -> Case:
    error = UnshareError(number, "", item, call, target)
    return Case(case.text, case.plan, error, case.machine)


WHOLE = True
