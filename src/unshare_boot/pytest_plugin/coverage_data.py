"""What coverage.py has measured in the child of a test, on its way to the parent.

In a file it could be lost, with an overlay say.
"""

from __future__ import annotations

import sys
from typing import Any


def _current() -> Any:
    coverage = sys.modules.get("coverage")
    return coverage.Coverage.current() if coverage else None


def take() -> Any:
    """In the child: stop measuring; return what was measured, or None, and leave no file."""
    current = _current()
    if current is None:
        return None
    current.stop()
    data = current.get_data()
    files = data.measured_files()
    arcs = data.has_arcs()
    measured = {file: (data.arcs if arcs else data.lines)(file) for file in files}
    plugins = {file: data.file_tracer(file) for file in files if data.file_tracer(file)}
    data.erase()
    return arcs, measured, plugins


def add(taken: Any) -> None:
    """In the parent: add what `take` returned."""
    current = _current() if taken else None
    if current is not None:
        arcs, measured, plugins = taken
        data = current.get_data()
        (data.add_arcs if arcs else data.add_lines)(measured)
        data.add_file_tracers(plugins)


WHOLE = True
