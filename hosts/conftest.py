"""The engines, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import Session, require_root, require_tool
from hosts.engines import Docker, Podman
from hosts.sandboxes import Sandboxes


@pytest.fixture(scope="session")
def docker(session: Session) -> Iterator[Docker]:
    """A daemon of this run's own."""
    require_root()
    for tool in ("dockerd", "docker", "ctr", "iptables"):
        require_tool(tool)
    with Docker.start(session) as engine:
        yield engine


@pytest.fixture(scope="session")
def podman(session: Session) -> Iterator[Podman]:
    """podman as root."""
    require_root()
    for tool in ("podman", "crun"):
        require_tool(tool)
    with Podman.start(session) as engine:
        yield engine


@pytest.fixture(scope="session")
def sandboxes(session: Session) -> Iterator[Sandboxes]:
    """What has no daemon."""
    require_root()
    for tool in ("runc", "crun", "podman", "systemd-nspawn", "lxc-execute", "bwrap", "newuidmap"):
        require_tool(tool)
    with Sandboxes.start(session) as engines:
        yield engines
