"""What has to be installed or to be there: programs, devices, the namespaces to join."""

import os
from errno import EINVAL

from ...errors import shown
from ...namespaces import NAMESPACES
from ...resolv_conf import RESOLV_CONF
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
ON_THE_HOST = "; in a container, on the host"


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
        return f"there is no {TUN}", _device(machine.container())
    if machine.lacks_driver(TUN):
        return f"this kernel has no driver loaded for {TUN}", f"sudo modprobe tun{ON_THE_HOST}"
    if not machine.writable(TUN):
        return f"this user may not open {TUN}", f"sudo chmod 0666 {TUN}"
    return None


def _device(container: str) -> str:
    if container in ("Docker", "Podman"):
        return f"{container.lower()} run --device {TUN} ..."
    if container and container != "systemd":
        return f"give the container {TUN}; on the host, sudo modprobe tun makes it"
    return f"sudo modprobe tun; and sudo chmod 0666 {TUN}, if it is root's alone then"


def old_slirp4netns(case: Case) -> "Finding":
    """The oldest that was tried is 1.2.0, of Debian 12; its words are those of getopt_long(3)."""
    if case.item != "net" or "unrecognized option '--disable-dns" not in case.reason:
        return None
    return (
        "this slirp4netns is too old: it has no --disable-dns, with which it answers no names",
        "a newer slirp4netns, 1.2.0 has it; or net=pasta",
    )


def no_way_out(case: Case) -> "Finding":
    """pasta(1) copies the addresses and routes of the interface that leads out."""
    if case.item != "net" or "interface not usable" not in case.reason.lower():
        return None
    return (
        "no interface here has a route that leads out, and pasta copies that of one",
        "net=slirp4netns, which takes none, or net, since nothing can be reached from here (for a "
        "container: leave --network none out)",
    )


def initramfs_as_root(case: Case) -> "Finding":
    """pasta(1) gives itself an empty root; from the first one of all nothing can: pivot_root(2)."""
    refused = "pivot_root" in case.reason and os.strerror(EINVAL) in case.reason
    if case.item != "net" or case.call or not refused:
        return None
    if not any((each.point, each.kind) == ("/", "rootfs") for each in case.machine.mounts()):
        return None
    return (
        "/ is the initramfs here (rootfs), from which pasta cannot go to a root of its own, as it "
        "does by pivot_root(2)",
        "net=slirp4netns, or net=gate",
    )


def no_resolv_conf(case: Case) -> "Finding":
    """net=gate covers the file that names the resolver, resolv.conf(5)."""
    if case.target != RESOLV_CONF or case.machine.exists(RESOLV_CONF):
        return None
    return (
        f"there is no {RESOLV_CONF}, which the list covers by one of its own",
        f"sudo touch {RESOLV_CONF} (empty, it means what none does: names are asked for at "
        "127.0.0.1)",
    )


def no_such_file(case: Case) -> "Finding":
    """The namespace that the list names is not there."""
    path = case.path_to_join()
    if not path or case.machine.exists(path):
        return None
    pid = path.split("/")[2] if path.startswith("/proc/") else ""
    if pid.isdigit() and case.machine.hides_processes():
        return (
            f"there is no file {shown(path)}: process {pid} has ended, or is one that /proc hides, "
            "since it is another user's (hidepid, proc(5))",
            "sudo mount -o remount,hidepid=0 /proc",
        )
    listing = "ip netns list" if case.item == "net" else f"lsns -t {NAMESPACES[case.item].file}"
    return f"there is no file {shown(path)}", f"{listing} (shows those that there are)"


WHOLE = True
