"""Each list with each engine's options works, or its cure does; docs/hosts.md says which."""

from __future__ import annotations

import os

import pytest

from harness import Python
from hosts.engines import Docker, Podman
from hosts.table import LISTS, PAGE, Table, examine

UNCONFINED = "--security-opt seccomp=unconfined"
NO_NEW_PRIVILEGES = "--security-opt no-new-privileges"

DOCKER = [
    [],
    ["--user=1000"],
    ["--cap-drop=ALL"],
    ["--cap-drop=ALL", NO_NEW_PRIVILEGES, "--user=1000"],
    [UNCONFINED],
    [UNCONFINED, "--user=1000"],
    [UNCONFINED, "--cap-drop=ALL"],
    [UNCONFINED, "--cap-drop=ALL", NO_NEW_PRIVILEGES, "--user=1000"],
    [UNCONFINED, "--read-only", "--security-opt systempaths=unconfined"],
    ["--cap-add=SYS_ADMIN"],
    ["--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN"],
]
PODMAN = [
    [],
    ["--user=1000"],
    ["--cap-drop=ALL"],
    ["--cap-drop=ALL", NO_NEW_PRIVILEGES, "--user=1000"],
    [UNCONFINED],
    ["--security-opt unmask=ALL"],
    ["--cap-add=SYS_ADMIN"],
    ["--privileged"],
]


@pytest.mark.parametrize("options", DOCKER, ids=" ".join)
def test_docker(docker: Docker, newest: Python, table: Table, options: list[str]) -> None:
    table.rows["Docker", " ".join(options)] = examine(docker.lines, newest, options)


@pytest.mark.parametrize("options", PODMAN, ids=" ".join)
def test_podman(podman: Podman, newest: Python, table: Table, options: list[str]) -> None:
    table.rows["Podman", " ".join(options)] = examine(podman.lines, newest, options)


def test_the_page(table: Table) -> None:
    """UNSHARE_BOOT_WRITE_HOSTS=1 writes it."""
    assert [len(cells) for cells in table.rows.values()] == [len(LISTS)] * (
        len(DOCKER) + len(PODMAN)
    ), "take all of the tests"
    if os.environ.get("UNSHARE_BOOT_WRITE_HOSTS") == "1":
        PAGE.write_text(table.page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == table.page()
