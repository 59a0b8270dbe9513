"""Where tmp_path lies: else in /tmp/pytest-of-root, real root's, for who is uid 0 only inside."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import UnshareError
from ..inside import original_uid

VARIABLE = "PYTEST_DEBUG_TEMPROOT"  # _pytest.tmpdir


def set_apart() -> None:
    """Give a run whose uid is another one outside a base directory of its own user's.

    By the variable that pytest has for it, so that workers and runs within tests follow. Where it
    is set already, or the uid is what it is outside, nothing is done.
    """
    try:
        outer = original_uid()
    except UnshareError:  # there is no map, or no /proc
        return
    if outer == os.getuid() or os.environ.get(VARIABLE):
        return
    directory = Path(tempfile.gettempdir(), f"pytest-of-uid-{outer}")
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:  # somebody else was first
        directory = Path(tempfile.mkdtemp(prefix=f"{directory.name}-"))
    os.environ[VARIABLE] = str(directory)


WHOLE = True
