"""What MkDocs is told besides mkdocs.yml: pages that are outside of docs/, and links to files.

README.md is the front page of the repository and of the site, CONTRIBUTING.md is where GitHub looks
for it. Links are written so that they lead somewhere on GitHub; here those to files that are no
pages are made to lead there, too.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md"}

# With strict: true a warning of a logger below mkdocs' own fails the build.
log = logging.getLogger("mkdocs.hooks.pages")

_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)((?:#[^)\s]*)?)(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are outside."""
    from mkdocs.structure.files import File

    for page, source in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead each link to the page of the site, or to the file on GitHub."""
    source = OUTSIDE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {outside: page for page, outside in OUTSIDE.items()}

    def lead(found: re.Match[str]) -> str:
        target, anchor = found.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / path).exists():
            log.warning("%s: the link to %s leads nowhere", source, target)
        if path in pages:
            return pages[path] + anchor
        if path.startswith("docs/"):
            return path[len("docs/") :] + anchor
        return f"{config.repo_url}/blob/main/{path}{anchor}"

    return _LINK.sub(lead, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show a bar as a bar: GitHub wants it escaped in a table, also within code."""
    return re.sub(r"<td.*?</td>", lambda cell: cell[0].replace("\\|", "|"), html, flags=re.DOTALL)
