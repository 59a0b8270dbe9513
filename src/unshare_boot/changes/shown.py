"""Changes as a list, as JSON, or as a diff: what the command ``unshare-boot changes`` prints."""

from __future__ import annotations

import difflib
import json
import stat
from pathlib import Path

from ..errors import shown
from . import ADDED, REMOVED, Change, Kept, changes_of
from .applied import apply, require_unused


def show_changes(
    path: str, apply_to: str | None, *, as_diff: bool, as_json: bool
) -> tuple[str, list[str]]:
    """Return what the command prints, and what could not be applied, a line each.

    Args:
        path: the directory of the changes.
        apply_to: the directory to make them in; None to change nothing.
        as_diff: show the changes within text files.
        as_json: as JSON.

    Raises:
        OSError: something cannot be read or written.
        ValueError: the directory holds no changes, or is in use.
    """
    parts = Kept(path).parts()
    tops = [Path(apply_to, each.prefix) if apply_to else each.lower for each in parts]
    found = [(part, change) for part, top in zip(parts, tops) for change in changes_of(part, top)]
    whole = [change._replace(path=part.prefix + change.path) for part, change in found]
    text = "\n".join(map(line_of, whole))
    if as_json:
        text = json.dumps([each._asdict() for each in whole], indent=2)
    elif as_diff:
        text = "".join(diff_of(part, change) for part, change in found).rstrip("\n")
    left_out = []
    if apply_to is not None:
        require_unused(parts[0])
        for part, top in zip(parts, tops):
            left_out += apply(part, top)
    return text, left_out


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
    path = kept.prefix + change.path
    if before is None or after is None or path.endswith("/"):
        return f"{line_of(change._replace(path=path))}\n"
    old = "/dev/null" if change.kind == ADDED else f"a/{path}"
    new = "/dev/null" if change.kind == REMOVED else f"b/{path}"
    lines = list(difflib.unified_diff(before, after, old, new)) or [
        f"{line_of(change._replace(path=path))}\n"
    ]
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
