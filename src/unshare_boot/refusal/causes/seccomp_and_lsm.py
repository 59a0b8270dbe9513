"""Who answers before the kernel's own rules do: seccomp(2) filters, AppArmor, SELinux."""

from errno import EACCES

from ...errors import shown
from ...namespaces import NAMESPACES
from ..engines import ENGINES, engine
from .case import Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..machine import Machine
    from .case import Finding

SETTING = "kernel.apparmor_restrict_unprivileged_userns"  # of Ubuntu alone


def seccomp(case: Case) -> "Finding":
    """A filter of whoever started this process answers in the kernel's place."""
    name, machine = case.call, case.machine
    flag = NAMESPACES[case.unshared].flag if case.unshared else 0
    if not machine.filtered(name, flag):
        return None
    container = machine.container()
    cure = engine(container).seccomp.format(f"{name}(2)")
    if case.call == "sethostname":
        grant = engine(container).grant("SYS_ADMIN")
        cure = f"uts without a name, or {grant}, or {cure}"
    return f"a seccomp filter forbids {name}(2) to this process: {_whose(container)}", cure


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
    if name != "unprivileged_userns" and not (
        restricted and asked and (first or later) and mode != "(enforce)"
    ):
        return None
    gets = "no user namespace" if first else "a user namespace without any power in it"
    return (
        f"Ubuntu's AppArmor restriction ({SETTING}=1) gives an ordinary program {gets}",
        f"sudo sysctl -w {SETTING}=0 (or a profile for this interpreter alone, see "
        "docs/troubleshooting.md)",
    )


def apparmor_profile(case: Case) -> "Finding":
    """A profile that confines this process: apparmor(7)."""
    if not (case.call or case.item):
        return None
    name, mode = profile(case.machine)
    if mode != "(enforce)" or (case.errno != EACCES and case.call != "mount"):
        return None
    lifted = engine(case.machine.container()).apparmor
    return (
        f"the AppArmor profile {shown(name)} confines this process",
        f"{lifted}, or a rule in that profile" if lifted else "a rule in that profile",
    )


def profile(machine: "Machine") -> "tuple[str, str]":
    """Return the name of the AppArmor profile of this process, and its mode in parentheses."""
    profile = machine.read("/proc/self/attr/apparmor/current")
    if not profile and machine.read("/sys/module/apparmor/parameters/enabled") == "Y":
        profile = machine.read("/proc/self/attr/current")
    name, _, mode = profile.partition(" ")
    return name, mode


def selinux(case: Case) -> "Finding":
    """SELinux can forbid user namespaces since Linux 6.1."""
    if case.machine.read("/sys/fs/selinux/enforce") != "1":
        return None
    context = case.machine.read("/proc/self/attr/current")
    return (
        f"SELinux is enforcing, and this process runs as {shown(context)}",
        "sudo ausearch -m avc -ts recent (shows what was denied, audit2allow(1) how to allow it)",
    )


WHOLE = True
