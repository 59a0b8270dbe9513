"""Mounts: those that a start may have made, and shared ones that are not the machine's own."""

from __future__ import annotations

from pathlib import Path

from harness.require import require_root, require_tool

# Private first: a copy of a shared mount stays its peer, and what is mounted there would appear on
# the machine as well (mount_namespaces(7)).
_SCRIPT = 'mount --make-rshared / && exec "$@"'


def own_shared_mounts() -> list[str]:
    """The command that runs what follows with shared mounts of its own, in the same process."""
    require_root()
    unshare = require_tool("unshare")
    return [unshare, "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh"]


# Where the lists that are tried mount something, beside the directory of the tests.
PLACES = ("/", "/proc", "/sys", "/sys/fs/cgroup", "/etc/resolv.conf", "/run", "/tmp", "/mnt")


def ours(mountinfo: str, directory: Path) -> list[str]:
    """The lines of proc_pid_mountinfo(5) that a start may have changed.

    The rest of the machine's mounts come and go by themselves.

    Args:
        mountinfo: the text.
        directory: the session's.
    """
    found = []
    for line in mountinfo.splitlines():
        place = line.split()[4]
        if place in PLACES or place.startswith(f"{directory}/"):
            found.append(line)
    return found
