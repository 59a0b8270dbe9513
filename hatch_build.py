"""Put the hook of the start-up into the wheel: unshare_boot.pth or unshare_boot.start.

Python 3.9 to 3.17 run the import line of a .pth file; later ones ignore it in silence and look for
a .start file (PEP 829), which 3.15 to 3.17 understand as well, but pay for with 8 ms on every
start. Two wheels, therefore. Installers prefer a tag of the exact minor version to `py3`, and that
to the tags of older versions, so each Python takes the one that is right for it.

And put the README into the metadata with links that lead somewhere from the package index as well.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

PTH_MINORS = range(9, 18)
PTH_TAG = ".".join(f"py3{minor}" for minor in PTH_MINORS) + "-none-any"
START_TAG = "py3-none-any"
# For a .start wheel that is built on the spot, with no .pth wheel beside it to outrank it: in a
# wheelhouse or in uv's cache an older Python must not find it, for there it would do nothing.
START_ALONE_TAG = f"py3{PTH_MINORS.stop}-none-any"


def choose(wanted: str, minor: int) -> tuple[str, str]:
    """Say which file belongs into a wheel, and how the wheel is tagged.

    Args:
        wanted: "pth" or "start" (a release), or "" for the one that fits the building Python.
        minor: the minor version of the Python that builds, 14 for 3.14.

    Returns:
        The file's name and the wheel's compatibility tag.

    Raises:
        ValueError: `wanted` is something else.
    """
    if wanted == "pth":
        return "unshare_boot.pth", PTH_TAG
    if wanted == "start":
        return "unshare_boot.start", START_TAG
    if wanted:
        raise ValueError(f"UNSHARE_BOOT_WHEEL is {wanted!r}, not 'pth' or 'start'")
    if minor in PTH_MINORS:
        return "unshare_boot.pth", PTH_TAG
    return "unshare_boot.start", START_ALONE_TAG


def absolute(readme: str, repository: str) -> str:
    """Lead the relative links of a Markdown text to the repository, those of pictures to the files.

    Args:
        readme: the text.
        repository: its address on GitHub.
    """
    raw = repository.replace("github.com", "raw.githubusercontent.com")
    relative = r"\]\((?!https?:|#)([^)]+)\)"
    readme = re.sub(rf"(!\[[^]]*){relative}", rf"\1]({raw}/main/\2)", readme)
    return re.sub(relative, rf"]({repository}/blob/main/\1)", readme)


class CustomMetadataHook(MetadataHookInterface):
    """Called by hatchling for every distribution."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README to what the package says of itself."""
        with open(os.path.join(self.root, "README.md"), encoding="utf-8") as file:
            text = absolute(file.read(), metadata["urls"]["Homepage"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by hatchling for every wheel, editable ones included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file and the tag to what hatchling is about to build."""
        if version == "editable":
            # Hatchling tags these py3-none-any, and installers may cache them for any Python: both
            # files, then. Where both are understood, site.py takes the .start file alone.
            names = ["unshare_boot.pth", "unshare_boot.start"]
        else:
            wanted = os.environ.get("UNSHARE_BOOT_WHEEL", "")
            name, build_data["tag"] = choose(wanted, sys.version_info.minor)
            names = [name]
        included = {name: name for name in names}
        if names == ["unshare_boot.start"]:
            included["src/unshare_boot_start.py"] = "unshare_boot_start.py"
        for path, name in included.items():
            build_data["force_include"][os.path.join(self.root, path)] = name
