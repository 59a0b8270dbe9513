"""Where tmp_path lies: else in /tmp/pytest-of-root, real root's, for who is uid 0 only inside."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from stat import S_ISDIR

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
    try:
        os.environ[VARIABLE] = str(_directory(f"pytest-of-uid-{outer}"))
    except OSError:  # it cannot be written there; a test that wants tmp_path will say so
        return


def _directory(name: str) -> Path:
    directory = Path(tempfile.gettempdir(), name)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        status = directory.lstat()
        if not S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            return Path(tempfile.mkdtemp(prefix=f"{name}-"))  # somebody else was first
    return directory


WHOLE = True
