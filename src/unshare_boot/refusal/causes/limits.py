"""There are no more: limits of namespaces, mounts, processes, descriptors and memory."""

from ...namespaces import NAMESPACES
from ..engines import engine
from ..machine import Machine
from .case import Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .case import Finding

UNLIMITED = 2**31 - 1  # what a new user namespace starts with in /proc/sys/user
ENOUGH_PROCESSES = 100  # more than any list takes
DEEPEST = 32  # levels of PID namespaces; of user namespaces, one more: user_namespaces(7)


def too_many_mounts(case: Case) -> "Finding":
    """A mount namespace holds so many mounts, those copied into a new one included: mount(2)."""
    most = case.machine.number("/proc/sys/fs/mount-max")
    count = len(case.machine.mounts())
    if most is None or (case.call == "unshare" and (case.unshared != "mount" or count < most)):
        return None
    more = "" if count >= most else ", which those that the list adds would exceed"
    return (
        f"there are {count} mounts, and fs.mount-max allows {most} in a mount namespace{more}",
        f"sudo sysctl -w fs.mount-max={2 * max(count, most)}",
    )


def switched_off(case: Case) -> "Finding":
    """/proc/sys/user: a limit of 0, namespaces(7)."""
    name = case.unshared
    if not name or _limit(case) != 0:
        return None
    return (
        f"{_setting(name)} is 0: {name} namespaces are switched off",
        f"sudo sysctl -w {_setting(name)}=10000",
    )


def all_in_use(case: Case) -> "Finding":
    """/proc/sys/user: a limit that is reached, namespaces(7)."""
    name = case.unshared
    limit = _limit(case) if name else None
    if limit is None or limit >= UNLIMITED:
        return None
    return (
        f"{_setting(name)} allows {limit} to a user, and all are in use",
        f"sudo sysctl -w {_setting(name)}={2 * limit} (or end who holds them: lsns -t "
        f"{NAMESPACES[name].file})",
    )


def nested_too_deep(case: Case) -> "Finding":
    """PID namespaces show how many levels there are; user namespaces do not."""
    if case.unshared != "pid" or len(case.machine.status("NSpid").split()) < DEEPEST:
        return None
    return (
        f"PID namespaces are nested {DEEPEST} deep here, and the kernel allows no more",
        "start it from further outside, or leave pid out of the list",
    )


def limit_further_out(case: Case) -> "Finding":
    """A limit that cannot be seen from here: of a user namespace around this one, or of levels."""
    name = case.unshared
    if not name:
        return None
    if name == "user" or case.plan.user is None:
        return _not_reached_here(case, name)
    setting = _setting(name)
    cure = (
        f"sudo sysctl -w {setting}=10000 (where it was started; sysctl {setting} shows what it is)"
    )
    deep = ""
    if name == "pid":  # a /proc that was mounted inside shows no level further out
        deep = f"PID namespaces are nested too deep ({DEEPEST} levels), or "
        cure = f"start it from further outside, or {cure}"
    return (
        f"{deep}the user namespace that this was started in, or one around it, has no {name} "
        f"namespace left to give: its {setting} is used up or 0",
        cure,
    )


def _not_reached_here(case: Case, name: str) -> "Finding":
    setting = _setting(name)
    deep = f"{name} namespaces are nested too deep ({DEEPEST} levels), or "
    if name not in ("user", "pid"):
        deep = ""
    such_as = ", as by bwrap --disable-userns" if name == "user" else ""
    return (
        f"{deep}the user namespace that this one lies in, or one further out, has no more left to "
        f"give{such_as} (its own limit is not reached here: {setting} is {_limit(case)})",
        f"start it from further outside, or raise the limit there: sudo sysctl -w {setting}=10000",
    )


def _setting(name: str) -> str:
    return f"user.max_{NAMESPACES[name].file}_namespaces"


def _limit(case: Case) -> "int | None":
    return case.machine.number("/proc/sys/" + _setting(case.unshared).replace(".", "/"))


def processes_of_the_group(case: Case) -> "Finding":
    """pids.max of a control group around the process; pids.events counts refusals: cgroups(7)."""
    machine = case.machine
    for group in _groups(machine):
        most = machine.number(f"{group}/pids.max")
        now = machine.number(f"{group}/pids.current") or 0
        _, _, refused = machine.read(f"{group}/pids.events").partition("max ")
        if most is not None and (now >= most or refused.partition("\n")[0] not in ("", "0")):
            return (
                f"the control group {group} allows {most} processes, and all are in use",
                engine(machine.container()).pids.format(most + ENOUGH_PROCESSES),
            )
    if machine.limit("Max processes") != "unlimited":
        return None
    return (
        "a control group around this process, which cannot be seen from here, allows no more "
        "processes (pids.max)",
        engine(machine.container()).pids.format(ENOUGH_PROCESSES),
    )


def _groups(machine: Machine) -> "list[str]":
    """Return the directories of the groups that count this process, from its own one outwards."""
    found = []
    for line in machine.read("/proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            tops = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        elif "pids" in controllers.split(","):
            tops = ["/sys/fs/cgroup/pids"]
        else:
            continue
        for top in tops:
            parts = path.strip("/").split("/") if path.strip("/") else []
            # In a container the path may be that outside, and its group the top.
            found += ["/".join((top, *parts[:count])) for count in range(len(parts), -1, -1)]
    return found


def processes_of_the_user(case: Case) -> "Finding":
    """RLIMIT_NPROC, getrlimit(2): what is left to explain EAGAIN of fork(2)."""
    limit = case.machine.limit("Max processes")
    return (
        f"the user may have {limit} processes (RLIMIT_NPROC)",
        "prlimit --pid $$ --nproc=unlimited (by root, if the hard limit is as low)",
    )


USUAL, MANY = 1024, 4096  # open files


def open_files(case: Case) -> "Finding":
    """RLIMIT_NOFILE, getrlimit(2)."""
    limit = case.machine.limit("Max open files")
    cure = f"ulimit -n {USUAL}"
    if limit.isdigit() and int(limit) >= USUAL:  # each port that is allowed takes a socket or two
        cure = f"prlimit --pid $$ --nofile={MANY} (by root, if the hard limit is as low)"
    return f"the process may have {limit} open files (RLIMIT_NOFILE)", cure


def memory(case: Case) -> "Finding":
    """RLIMIT_AS, getrlimit(2)."""
    limit = case.machine.limit("Max address space")
    if not limit.isdigit():
        return None
    return f"the process may have {limit} bytes of memory (RLIMIT_AS)", "ulimit -v unlimited"


WHOLE = True
