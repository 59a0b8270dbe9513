"""Which resolver the host has, resolv.conf(5), and another one in its place."""

import os

from .namespaces import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, O_PATH, call, mount

RESOLV_CONF = "/etc/resolv.conf"
# Where the C library asks others for names: nscd(8), and nss-resolve(8) since systemd 247.
DAEMONS = "/var/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"
MNT_DETACH = 2  # include/linux/fs.h


def nameservers() -> "list[str]":
    """Return the addresses of the host's resolvers; without any it is the local machine."""
    names = [line.split()[1:2] for line in _lines() if _is_nameserver(line)]
    return [address for name in names for address in name] or ["127.0.0.1"]


def search_list() -> "tuple[list[str], int]":
    """Return the domains that names are looked for in, and ``ndots``.

    Without a list it is the domain of the hostname, as glibc has it.
    """
    domains, dots = [os.uname().nodename.partition(".")[2]], 1
    for line in _lines():
        words = line.split()
        if words[:1] in (["search"], ["domain"]):
            domains = words[1:]
        elif words[:1] == ["options"]:
            found = [each[6:] for each in words if each[:6] == "ndots:" and each[6:].isdigit()]
            dots = int(found[-1]) if found else dots
    return [each.strip(".").lower() for each in domains if each.strip(".")], dots


def is_on_loopback() -> bool:
    """Tell whether a resolver listens on the host's loopback, which nobody else's leads to."""
    return any(each[:4] == "127." or each == "::1" for each in nameservers())


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


def daemons() -> "list[str]":
    """Return the unix sockets of daemons that resolve names for the C library."""
    return [path for path in DAEMONS if os.path.exists(path)]


def cover_daemons() -> None:
    """Have nobody at these sockets, in this mount namespace: the C library asks a resolver then.

    Raises:
        OSError: the kernel refuses.
    """
    for path in daemons():
        mount("/dev/null", path, None, MS_BIND)


def _lines() -> "list[str]":
    try:
        with open(RESOLV_CONF, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except FileNotFoundError:  # then it is the local machine
        return []


def _is_nameserver(line: str) -> bool:
    return line.split()[:1] == ["nameserver"]


WHOLE = True
