"""How many starts a second a machine gets through: 400 starts, 8 at a time.

What is cheap for one start need not be for many: a network namespace is made under a lock of the
whole kernel, and torn down by a kernel thread after its last process is gone.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Mapping
from typing import Any

import lab
import rows

OURS, PEER = "PY_UNSHARE=user,net", "unshare -rn"
ROWS = (
    rows.BARE,
    OURS,
    PEER,
    "unshare -rn, lo up by ip",
    "bwrap, user net",
    "static C, user net",
)
STARTS, BLOCKS, AT_A_TIME = 400, 10, 8
SEED = 20261123

Command = tuple[list[str], dict[str, str]]


def measure(commands: Mapping[str, Command], starts: int = STARTS) -> dict[str, Any]:
    """Start every command so many times, block by block in turn; return starts per second.

    The median of the blocks is the figure. Raises BenchmarkError when a start fails.
    """
    blocks: dict[str, list[float]] = {name: [] for name in commands}
    order = random.Random(SEED)
    queue = list(commands)
    with lab.spawner() as spawner:
        for _ in range(BLOCKS):
            order.shuffle(queue)
            for name in queue:
                seconds = _block(spawner, name, commands[name], starts // BLOCKS)
                blocks[name].append(starts // BLOCKS / seconds)
    figures: dict[str, Any] = {
        name: {"per_second": statistics.median(found), "blocks": found}
        for name, found in blocks.items()
    }
    result = {"starts": starts, "at_a_time": AT_A_TIME, "rows": figures}
    if OURS in figures and PEER in figures:
        result["ratio"] = figures[OURS]["per_second"] / figures[PEER]["per_second"]
    return result


def _block(spawner: lab.Spawner, name: str, command: Command, starts: int) -> float:
    """Run one block; return its seconds."""
    running: set[int] = set()
    waiting = starts
    begin = time.monotonic_ns()
    while waiting or running:
        while waiting and len(running) < AT_A_TIME:
            running.add(spawner.start(*command))
            waiting -= 1
        child, status = os.waitpid(-1, 0)
        if child not in running:  # left behind by a command, and now ours
            continue
        running.discard(child)
        if status:
            for other in running:
                os.waitpid(other, 0)
            raise spawner.failure(name, status)
    return (time.monotonic_ns() - begin) / 1e9


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    title = f"{result['starts']} starts, {result['at_a_time']} at a time"
    print(f"\n{title:<48}{'starts a second':>15}{'blocks':>16}")
    for name, figures in result["rows"].items():
        spread = f"{min(figures['blocks']):.0f} to {max(figures['blocks']):.0f}"
        print(f"  {name:<46}{figures['per_second']:>15.1f}{spread:>16}")
    if "ratio" in result:
        word = "met" if result["ratio"] >= 1 else "MISSED"
        low, high = result["ratio_95"] or (0.0, 0.0)
        label = f"  ours, as a multiple of {PEER}, 95 %: {low:.2f}-{high:.2f}"
        print(f"{label:<48}{result['ratio']:>15.2f}{'1.00 ' + word:>16}")
