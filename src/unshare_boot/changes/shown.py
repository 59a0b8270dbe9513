"""Changes as a list, as JSON, or as a diff: what the command ``unshare-boot changes`` prints."""

from __future__ import annotations

import difflib
import json
import stat
from pathlib import Path

from ..errors import shown
from . import ADDED, REMOVED, Change, Kept, changes_of
from .applied import apply, require_unused


def show_changes(path: str, apply_to: str | None, *, as_diff: bool, as_json: bool) -> str:
    """Return what the command prints.

    Args:
        path: the directory of the changes.
        apply_to: the directory to make them in; None to change nothing.
        as_diff: show the changes within text files.
        as_json: as JSON.

    Raises:
        OSError: something cannot be read or written.
        ValueError: the directory holds no changes, or is in use.
    """
    kept = Kept(path)
    found = list(changes_of(kept, Path(apply_to) if apply_to else kept.lower))
    text = "\n".join(map(line_of, found))
    if as_json:
        text = json.dumps([each._asdict() for each in found], indent=2)
    elif as_diff:
        text = "".join(diff_of(kept, each) for each in found).rstrip("\n")
    if apply_to is not None:
        require_unused(kept)
        apply(kept, Path(apply_to))
    return text


def line_of(change: Change) -> str:
    """Return a change as a line for people."""
    size = "" if change.size is None else f"{change.size:,}"
    if change.before is not None and change.before != change.size:
        size = f"{change.before:,} -> {size}"
    path = change.path if change.path.isprintable() else shown(change.path)
    return f"{change.kind:<8} {size:>20}  {path}"


def diff_of(kept: Kept, change: Change) -> str:
    """Return a change as diff(1) would show it, with -u and -N; of anything but text its line."""
    before = _text(kept.lower / change.path) if change.kind != ADDED else []
    after = _text(kept.upper / change.path) if change.kind != REMOVED else []
    if before is None or after is None or change.path.endswith("/"):
        return f"{line_of(change)}\n"
    old = "/dev/null" if change.kind == ADDED else f"a/{change.path}"
    new = "/dev/null" if change.kind == REMOVED else f"b/{change.path}"
    lines = list(difflib.unified_diff(before, after, old, new)) or [f"{line_of(change)}\n"]
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _text(path: Path) -> list[str] | None:
    """Return the lines of a text file; None of anything else."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
    return None if "\0" in text else text.splitlines(keepends=True)


WHOLE = True
