"""What a test with the marker has written below its overlays: told where it fails.

All that its processes wrote is in the overlay's upper directory, which has no name. It is looked at
through descriptors that were kept when the overlay was made.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..changes import Change, Upper, changes_of
from ..changes.shown import line_of
from ..items.overlay import attributes
from . import section

TITLE = "written below an overlay"
MOST = 50  # lines in a section
CACHE = "__pycache__/"  # of which a test knows nothing


class Written:
    """The overlays of one test."""

    def __init__(self) -> None:
        """There is none yet."""
        self._overlays: list[tuple[str, int, int]] = []  # where, and two descriptors
        self._kind = ""

    def hold(self, target: str, top: int, lower: int) -> None:
        """Keep an overlay's directories: `Start.hold_overlay`."""
        self._kind = attributes()  # which a thread that comes back has no longer
        self._overlays.append((target, os.dup(top), os.dup(lower)))

    def close(self) -> None:
        """Let go of them."""
        for _, *descriptors in self._overlays:
            for descriptor in descriptors:
                os.close(descriptor)
        self._overlays.clear()

    def explain(self, report: Any) -> None:
        """Add a section to the report of a failure, if anything was written."""
        found = self._lines() if report.failed else []
        if len(found) > MOST:
            found[MOST:] = [f"... and {len(found) - MOST} more"]
        if found:
            section.add(report, "\n".join(found), TITLE)

    def _lines(self) -> list[str]:
        found = []
        for target, top, lower in self._overlays:
            upper = Upper(
                Path(f"/proc/self/fd/{top}/upper"), Path(f"/proc/self/fd/{lower}"), self._kind
            )
            try:
                changes = [each for each in changes_of(upper, upper.lower) if _counts(each)]
            except OSError as error:
                found.append(f"{target}: {error.strerror}")
                continue
            path = os.path.relpath(target)
            path = "" if path == "." else f"{target if path.startswith('..') else path}/"
            found += [line_of(each._replace(path=path + each.path)) for each in changes]
        return found


def _counts(change: Change) -> bool:
    return CACHE not in change.path


WHOLE = True
