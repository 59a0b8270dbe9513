"""Print what CHANGELOG.md says of a version: python scripts/release_notes.py v1.0.0.

It fails unless the package has that version too, and the section a date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def notes(tag: str, changelog: str, version: str) -> str:
    """The section of a version.

    Args:
        tag: as git has it, with a v before the version.
        changelog: the text of CHANGELOG.md.
        version: what the package says of itself.

    Raises:
        ValueError: it is not ready to be released.
    """
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, and the version of the package {version}")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |^\[|\Z)"
    found = re.search(heading, changelog, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"CHANGELOG.md has no section with a date: ## [{version}] - YYYY-MM-DD")
    return found[1].strip() + "\n"


def package_version() -> str:
    """What `__version__` is, without importing the package."""
    text = (ROOT / "src" / "unshare_boot" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.*)"$', text, re.MULTILINE)
    assert found
    return found[1]


if __name__ == "__main__":
    try:
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        print(notes(sys.argv[1], changelog, package_version()), end="")
    except ValueError as error:
        sys.exit(str(error))
