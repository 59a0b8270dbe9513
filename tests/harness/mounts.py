"""Mounts that are all shared, as systemd has them, and none of which is the machine's own."""

from __future__ import annotations

from harness.require import require_root, require_tool

# Private first: a copy of a shared mount stays its peer, and what is mounted there would appear on
# the machine as well (mount_namespaces(7)).
_SCRIPT = 'mount --make-rshared / && exec "$@"'


def own_shared_mounts() -> list[str]:
    """The command that runs what follows with shared mounts of its own, in the same process."""
    require_root()
    unshare = require_tool("unshare")
    return [unshare, "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh"]
