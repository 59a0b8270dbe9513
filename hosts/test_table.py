"""Each list with each engine's options works, or its cure does; docs/hosts.md says which."""

from __future__ import annotations

import pytest

from harness import Python
from hosts.engines import Docker, Podman
from hosts.table import PAGE, WRITE, Table, code, examine, outcomes

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
    table.add("Docker", options, examine(docker.lines, newest, options))


@pytest.mark.parametrize("options", PODMAN, ids=" ".join)
def test_podman(podman: Podman, newest: Python, table: Table, options: list[str]) -> None:
    table.add("Podman", options, examine(podman.lines, newest, options))


def test_the_page(table: Table) -> None:
    """It has these rows and no others; UNSHARE_BOOT_WRITE_HOSTS=1 with -n0 writes it."""
    rows = [*(("Docker", each) for each in DOCKER), *(("Podman", each) for each in PODMAN)]
    if WRITE:
        assert len(table.rows) == len(rows), "take all of the tests, with -n0"
        PAGE.write_text(table.page(), encoding="utf-8")
    assert set(outcomes()) == {(engine, code(" ".join(options))) for engine, options in rows}
