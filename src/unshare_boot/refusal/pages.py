"""Which page of the documentation has which heading: there is one for each kind of reader."""

PAGE = "docs/troubleshooting.md"  # for everybody

# What the options of a container's engine decide.
CONTAINERS = "docs/troubleshooting-containers.md"
IN_CONTAINERS = (
    "root-that-cannot-set-up-a-network",
    "seccomp-filter",
    "apparmor-profile",
    "landlock",
    "selinux",
    "root-that-cannot-map-itself",
    "processes-of-a-control-group",
    "proc-is-not-mounted",
    "proc-is-read-only",
    "overlays-too-deep",
    "masked-proc-or-sys",
    "proc-of-processes-alone",
    "read-only-proc-or-sys",
    "no-proc-or-sys-to-begin-with",
    "gvisor",
    "tun-device",
)

# What only an administrator can change: kernel, settings, limits.
MACHINE = "docs/troubleshooting-machine.md"
OF_THE_MACHINE = (
    "apparmor-on-ubuntu",
    "debian-switch",
    "newuidmap-without-privileges",
    "namespaces-switched-off",
    "namespaces-all-in-use",
    "limit-further-out",
    "namespaces-nested-too-deep",
    "too-many-mounts",
    "processes-of-a-user",
    "open-files",
    "memory",
    "no-such-namespace",
    "overlays-for-root-only",
    "no-overlay-file-system",
    "no-interfaces-for-the-gate",
    "no-ipv6",
    "initramfs-as-root",
    "no-resolver-configuration",
    "sockets-by-socketcall",
    "no-such-system-call",
    "wsl-1",
)


def page_of(cause: str) -> str:
    """Return the page that has a heading.

    Args:
        cause: the heading's anchor.
    """
    if cause in IN_CONTAINERS:
        return CONTAINERS
    return MACHINE if cause in OF_THE_MACHINE else PAGE


def more(cause: str) -> str:
    """Return the page with the heading on it, to look up; empty where there is no cause."""
    return f"{page_of(cause)}#{cause}" if cause else ""


WHOLE = True
