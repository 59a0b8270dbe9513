"""pytest-xdist's workers: namespaces of their own, and the capabilities that the run has.

A worker is executed, and execve(2) takes capabilities from every uid but 0. So the main process of
a run with ``user=current``, which runs no test, makes them ambient; each worker undoes that for its
children, and can enter what a marker asks for as a run without workers can.

So can its main thread, which runs the tests, enter what ``unshare_workers`` asks for, after plugins
have connected to the main process, as pytest-rerunfailures does. Only a list that is for a whole
process, as with ``user``, is entered while the worker's interpreter starts.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from ..inside import active
from ..procfiles import status_field

LENT = "unshare_boot_lent"  # in a worker's input: it has capabilities that are to go no further


class Workers:
    """The plugin of the main process: pytest-xdist's hooks."""

    def __init__(self, at_start: str) -> None:
        """Nobody has been started yet; ``at_start`` is a list for their interpreters, or ""."""
        self._at_start = at_start
        self._lends = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self) -> None:
        """Have the workers, also those that take the place of one that died, start so."""
        if self._at_start:
            os.environ["PY_UNSHARE"] = self._at_start
        if "user" in active() and _would_be_lost():
            from ..items.capabilities import carry_over

            carry_over()
            self._lends = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker what it got."""
        node.workerinput[LENT] = self._lends


class Worker:
    """The plugin of a worker."""

    def __init__(self, text: str) -> None:
        """Remember what is to be entered."""
        self._text = text

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Enter it, unless that has been done, and never leave.

        Raises:
            pytest.UsageError: it is not available, on a machine of its own for instance.
        """
        from .visit import Visit, can_enter
        from .whole_run import holds, read

        plan = read(self._text, "unshare_workers")
        if plan is None or (not can_enter(plan) and holds(plan)):
            return
        refusal = Visit(plan).enter() if can_enter(plan) else "it was not started so"
        if refusal:
            raise pytest.UsageError(f"unshare_workers = {self._text!r}: this worker: {refusal}")


def _would_be_lost() -> bool:
    """Tell whether this process has capabilities that no child would have."""
    permitted, ambient = (int(status_field(name), 16) for name in ("CapPrm", "CapAmb"))
    return os.geteuid() != 0 and permitted != 0 and ambient == 0


def register(config: pytest.Config) -> None:
    """Prepare a run that has workers.

    Raises:
        pytest.UsageError: what ``unshare_workers`` asks for is not available.
    """
    text = config.getini("unshare_workers")
    at_start = text if text and not _is_entered_later(text) else ""
    config.pluginmanager.register(Workers(at_start), "unshare_boot_workers")


def _is_entered_later(text: str) -> bool:
    """Tell whether a worker can enter a list when it has started.

    Raises:
        pytest.UsageError: it is not available.
    """
    from .visit import can_enter
    from .whole_run import read, try_in_child, why

    source = f"unshare_workers = {text!r}"
    plan = read(text, source)
    refusal = try_in_child(plan) if plan else None
    if refusal is not None:
        raise pytest.UsageError(f"{source}: refused, no test was run\n{why(text, refusal)}")
    return plan is None or can_enter(plan)


def begin(config: pytest.Config) -> None:
    """In a worker: keep what it was lent from its children, and prepare for its namespaces."""
    if config.workerinput.get(LENT):  # type: ignore[attr-defined]
        from ..items.capabilities import undo_carry_over

        undo_carry_over()
    text = config.getini("unshare_workers")
    if text:
        config.pluginmanager.register(Worker(text), "unshare_boot_worker")


WHOLE = True
