"""Each list on Debian's kernels, under each switch that forbids it: with --kernels."""

from __future__ import annotations

import pytest

from harness import Session, require_root, require_tool
from hosts.machines import EMULATORS, NAMES, results
from hosts.table import Cell, cause_of, record


@pytest.mark.kernels
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("suite", NAMES)
def test_a_kernel(session: Session, suite: str) -> None:
    require_root()
    emulator = EMULATORS.get(suite.rpartition("-")[2], "qemu-system-x86_64")
    for tool in (emulator, "cpio", "modprobe", "mke2fs", "zstd"):
        require_tool(tool)
    for scenario, cells in rows_of(results(suite, session.wheel("pth"))).items():
        record(NAMES[suite], [scenario], cells)


def rows_of(found: list[dict]) -> dict[str, dict[str, Cell]]:  # type: ignore[type-arg]
    """What was found in a machine, by scenario and list; each refusal has a way out that led on."""
    rows: dict[str, dict[str, Cell]] = {}
    for each in found:
        cell = rows.setdefault(each["scenario"], {})[each["list"]] = Cell(each["status"] == 0)
        assert each["status"] in (0, 125), each
        if each["status"]:
            cell.cause = cause_of(each)
            for after in each["after"]:
                assert after["status"] == 0 or cause_of(after) != cell.cause, (each, after)
                cell.proved += 1
        assert cell.works or cell.proved, each
    return rows
