"""The resolver, resolv.conf(5): whether what is inside can ask it, and what to do where it cannot.

The host's may listen on the host's loopback alone, as systemd-resolved does at 127.0.0.53. Then the
file is covered, for the program only, by one that names the driver, which asks that resolver.
"""

import os
from errno import ENOENT, EOPNOTSUPP

from ..errors import UnshareError, named
from ..namespaces import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, O_PATH, call, mount
from .ports import try_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces import Plan

RESOLV_CONF = "/etc/resolv.conf"
MNT_DETACH = 2  # include/linux/fs.h


def find_unreachable(plan: "Plan") -> str:
    """Return the address of the host's resolver if what is inside could not ask it, else nothing.

    Raises:
        UnshareError: and nothing can be done about that.
    """
    names = [line.split()[1:2] for line in _lines() if _is_nameserver(line)]
    addresses = [address for name in names for address in name] or ["127.0.0.1"]
    if not all(_is_local(address) for address in addresses):
        return ""
    item = named("net", plan.net)
    asked = f"names are asked of {addresses[0]} here, which is out of reach inside"
    if plan.mount not in ("private", "slave"):
        raise UnshareError(EOPNOTSUPP, f"{asked}: {_which_mount(plan)}", item)
    if ":" in addresses[0]:
        raise UnshareError(EOPNOTSUPP, f"{asked}, and IPv6 cannot be forwarded", item)
    if not os.path.lexists(RESOLV_CONF):
        raise UnshareError(ENOENT, f"{asked}, and there is no {RESOLV_CONF} to cover", item)
    return addresses[0]


def _is_local(address: str) -> bool:
    """Tell whether an address is the machine's own: only to such a one can a socket be bound."""
    return try_bind(address) is None


def _which_mount(plan: "Plan") -> str:
    if plan.mount is None:
        return f"add mount to the list, and {RESOLV_CONF} will name another"
    return f"with mount=private, not mount={plan.mount}, {RESOLV_CONF} would name another"


def cover(address: str) -> None:
    """Cover resolv.conf(5), in this mount namespace, by one that names another resolver.

    Args:
        address: of the resolver.

    Raises:
        OSError: the kernel refuses.
    """
    lines = [f"nameserver {address}"]
    lines += [line for line in _lines() if not _is_nameserver(line)]
    directory = os.path.dirname(RESOLV_CONF)
    # Where it is a symbolic link it is that which is covered: what it leads to is replaced from
    # time to time, and the kernel takes away a mount whose mount point is replaced.
    target = os.open(RESOLV_CONF, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # A file with no name outside: on a tmpfs of which only that file stays mounted.
        flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
        mount("tmpfs", directory, "tmpfs", flags, "size=64k,mode=755")
        try:
            with open(RESOLV_CONF, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write("\n".join(lines) + "\n")
            os.chmod(RESOLV_CONF, 0o644)
            mount(RESOLV_CONF, f"/proc/self/fd/{target}", None, MS_BIND)
        finally:
            call("umount2", os.fsencode(directory), MNT_DETACH, target=directory)
    finally:
        os.close(target)


def _lines() -> "list[str]":
    try:
        with open(RESOLV_CONF, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except FileNotFoundError:  # then it is the local machine
        return []


def _is_nameserver(line: str) -> bool:
    return line.split()[:1] == ["nameserver"]


WHOLE = True
