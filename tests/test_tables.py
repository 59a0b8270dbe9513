"""The tables of the README and of the pages say what the rows of the code say."""

from __future__ import annotations

import itertools
import re

import pytest

from harness.session import PROJECT
from unshare_boot.language import ITEMS
from unshare_boot.namespaces import NAMESPACES

README = (PROJECT / "README.md").read_text()
REFERENCE = (PROJECT / "docs" / "reference.md").read_text()
JOIN = "| any of these | `/absolute/path` | join that namespace instead of making one |"


def items_table() -> list[str]:
    """The rows of the README's table: items in a row that mean the same share one."""
    lines = []
    grouped = itertools.groupby(ITEMS, key=lambda name: (name in NAMESPACES, ITEMS[name].forms))
    for (_, forms), names in grouped:
        shared = list(names)
        first = ", ".join(f"`{name}`" for name in shared)
        for values, meaning in forms:
            lines.append(f"| {first} | {values} | {meaning} |".replace("|  |", "| |"))
            first = ""
        if shared[-1] == list(NAMESPACES)[-1]:
            lines.append(JOIN)
    return lines


def test_the_table_of_items() -> None:
    table = README[README.index("| item | values | meaning |") :].partition("\n\n")[0]
    assert table.splitlines()[2:] == items_table()


@pytest.mark.parametrize("name", ITEMS)
def test_the_heading_of_an_item(name: str) -> None:
    """Each item's anchor is that of a heading of the reference which names the item."""
    headings = re.findall(r"^##+ (.*)$", REFERENCE, re.MULTILINE)
    anchors = {anchor(heading): heading for heading in headings}
    assert ITEMS[name].anchor in anchors
    assert f"`{name}" in anchors[ITEMS[name].anchor]


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_that_needs_a_value_says_which(name: str) -> None:
    """What is expected, in a message, are the forms of the table."""
    expected = ITEMS[name].expected
    for values, _ in ITEMS[name].forms:
        for form in re.findall(r"`([^`]*)`", values):
            if expected and name not in NAMESPACES:
                assert form in (*expected.split(" "), "OFFSET") or form in expected, form


def anchor(heading: str) -> str:
    """As GitHub and Python-Markdown make it."""
    plain = re.sub(r"[^\w\- ]", "", heading.lower())
    return re.sub(r"[ ]+", "-", plain.strip())
