"""The engines, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import Session, require_root, require_tool
from hosts.engines import Docker, Podman
from hosts.sandboxes import Sandboxes


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kernels", action="store_true", help="other kernels, and only these")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kernels: takes minutes; --kernels runs it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Other kernels, or all but these."""
    asked = config.getoption("--kernels")
    items[:] = [each for each in items if asked == bool(each.get_closest_marker("kernels"))]


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
