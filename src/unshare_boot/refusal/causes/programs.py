"""What has to be installed or to be there: programs, devices, the namespaces to join."""

from ...errors import shown
from ...namespaces import NAMESPACES
from .case import Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .case import Finding

PACKAGES = {  # of Debian and Ubuntu
    "newuidmap": "uidmap",
    "newgidmap": "uidmap",
    "pasta": "passt",
    "slirp4netns": "slirp4netns",
}

TUN = "/dev/net/tun"


def missing_program(case: Case) -> "Finding":
    """A program that the item needs is not installed."""
    if case.target not in PACKAGES:
        return None
    return (
        f"the program {case.target} is not on PATH",
        f"sudo apt install {PACKAGES[case.target]} (Debian and Ubuntu)",
    )


def no_tun(case: Case) -> "Finding":
    """What pasta(1) and slirp4netns(1) make their interface of; the reason is in their words."""
    machine = case.machine
    if case.item != "net" or case.call or "tun" not in case.reason:
        return None
    if not machine.exists(TUN):
        return (
            f"there is no {TUN}",
            "sudo modprobe tun; for a container: docker run --device /dev/net/tun ...",
        )
    if not machine.writable(TUN):
        return f"this user may not open {TUN}", f"sudo chmod 0666 {TUN}"
    return None


def no_such_file(case: Case) -> "Finding":
    """The namespace that the list names is not there."""
    path = case.path_to_join()
    if not path or case.machine.exists(path):
        return None
    listing = "ip netns list" if case.item == "net" else f"lsns -t {NAMESPACES[case.item].file}"
    return f"there is no file {shown(path)}", f"{listing} (shows those that there are)"


WHOLE = True
