"""Each list with each engine's options works, or its cure does; docs/hosts.md says which."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from harness import Python
from hosts.cures import Taken
from hosts.engines import Docker, Podman
from hosts.machines import NAMES
from hosts.sandboxes import AS_ANOTHER, AS_USER, TAKEN, WITH_CAPABILITY, Sandboxes, as_user
from hosts.table import FEW, WRITE, code, examine, outcomes, record

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

TOKEN = "--mount=type=bind,src=/tmp,dst=/run/secrets/kubernetes.io/serviceaccount,options=rbind:ro"
UNMASKED = ["linux.maskedPaths=[]", "linux.readonlyPaths=[]"]
SANDBOXES = {
    "Podman without root": [[], ["--security-opt unmask=ALL"], ["--cap-drop=ALL"]],
    "crun": [[], ["process.user.uid=1000", *UNMASKED]],
    "runc": [[], ["process.user.uid=1000"]],
    "systemd-nspawn": [
        [],
        ["--drop-capability=all"],
        ["--user=nobody"],
        ["--system-call-filter=~unshare"],
    ],
    "LXC": [
        [],
        ["lxc.include = /usr/share/lxc/config/nesting.conf"],
        ["lxc.cap.drop = sys_admin setfcap"],
        ["lxc.init.uid = 1000"],
    ],
    "bwrap": [
        [],
        ["--cap-drop ALL"],
        [AS_USER, "--unshare-all"],
        [AS_USER, "--unshare-user", "--disable-userns"],
    ],
}
BY_CTR = [["--seccomp"], ["--seccomp", AS_USER]]
# What its cures say, and ctr's options for that; there is none for procMount.
CONTAINERD: dict[str, Taken] = {
    "containerd": (
        (WITH_CAPABILITY, (r"--cap-add=CAP_\1",)),
        (AS_ANOTHER, (AS_USER,)),
        (r"allow \w+\(2\) there", ("without", "--seccomp")),
    ),
    "Kubernetes": (
        (r'"seccompProfile": {"type": "Unconfined"}', ("without", "--seccomp")),
        (r'"add": \["(\w+)"\]', (r"--cap-add=CAP_\1",)),
        (r'"runAsUser": 1000', (AS_USER,)),
    ),
}
ROWS = [(engine, options) for engine, several in SANDBOXES.items() for options in several]


@pytest.mark.parametrize("options", DOCKER, ids=" ".join)
def test_docker(docker: Docker, newest: Python, options: list[str]) -> None:
    record("Docker", options, examine(docker.lines, newest, options))


@pytest.mark.parametrize("options", PODMAN, ids=" ".join)
def test_podman(podman: Podman, newest: Python, options: list[str]) -> None:
    record("Podman", options, examine(podman.lines, newest, options))


@pytest.mark.parametrize("by", CONTAINERD)
@pytest.mark.parametrize("options", BY_CTR, ids=" ".join)
def test_containerd(docker: Docker, newest: Python, by: str, options: list[str]) -> None:
    def run(command: Sequence[str | Path], *more: str) -> list[str]:
        first = [*as_user(), "--bounding-set=-all"] if AS_USER in more else []
        token = [TOKEN] if by == "Kubernetes" else []
        own = [each for each in more if each != AS_USER]
        return docker.lines_by_containerd([*first, *command], *token, *own)

    record(by, options, examine(run, newest, options, FEW, CONTAINERD[by]))


@pytest.mark.parametrize(("by", "options"), ROWS, ids=str)
def test_sandboxes(sandboxes: Sandboxes, newest: Python, by: str, options: list[str]) -> None:
    run = partial(sandboxes.lines, by)
    record(by, options, examine(run, newest, options, FEW, TAKEN.get(by, ())))


def test_the_page() -> None:
    """It has these rows and no others; UNSHARE_BOOT_WRITE_HOSTS=1 writes those that are run."""
    rows = [*(("Docker", each) for each in DOCKER), *(("Podman", each) for each in PODMAN), *ROWS]
    rows += [(by, each) for by in CONTAINERD for each in BY_CTR]
    found = {(engine, code(" ".join(options))) for engine, options in rows}
    written = {row for row in outcomes() if row[0] not in NAMES.values()}
    assert WRITE or written == found
