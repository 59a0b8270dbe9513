"""What has to be true of every text that is given for a list, and of every refusal."""

from __future__ import annotations

import unicodedata
from errno import EINVAL

from harness.lists import same, unparse
from proof.grammar import Wrong, comparable, understand
from unshare_boot.errors import UnshareError
from unshare_boot.language import ITEMS, parse
from unshare_boot.namespaces import Plan, plain_plan

LONGEST_ERROR = 2000  # characters: two times 70 that are shown as ten each, and the words
LONGEST_REFUSAL = 5 * 2000 * 10  # bytes: five lines, all of it characters that have to be escaped


def judge(text: str) -> Plan | None:
    """Hold the parser against the grammar; the plan, or None for a list that is wrong or off."""
    try:
        meaning, wrong = understand(text), None
    except Wrong as error:
        meaning, wrong = None, error
    plain = plain_plan(text)
    refusal = None
    try:
        plan = parse(text)
    except UnshareError as error:
        refusal = error
    if refusal:
        assert wrong, f"{text!r} is a list, and was refused: {refusal}"
        assert plain is None
        check_error(refusal, wrong.names)
        return None
    assert not wrong, f"{text!r} is no list (for its {wrong.names}), and was understood"
    if plan is None:
        assert meaning is None and plain is None
        return None
    assert comparable(plan) == meaning
    assert plain is None or same(plain, plan)
    assert same(parse(unparse(plan)), plan)
    return plan


def check_error(error: UnshareError, names: tuple[str, ...]) -> None:
    """It blames one of these items, and is short and good to print."""
    assert (error.errno, error.call) == (EINVAL, "")
    assert error.strerror and error.item
    assert str(error).isprintable() and len(str(error)) < LONGEST_ERROR
    name = error.item.partition("=")[0]
    if name in ITEMS:
        assert name in names
    else:
        (unknown,) = names
        assert unknown not in ITEMS
        assert error.item in (repr(unknown), f"{unknown[:70]!r}..."), (unknown, error.item)


def check_refusal(message: bytes) -> None:
    """It is two to five lines, not too long, and moves no cursor."""
    assert len(message) <= LONGEST_REFUSAL
    text = message.decode()
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    assert 2 <= len(lines) <= 5
    assert all(map(good_to_print, lines)), lines


def good_to_print(line: str) -> bool:
    """Whether it moves no cursor. What is unassigned here may be a letter to a later Python."""
    return all(each.isprintable() or unicodedata.category(each) == "Cn" for each in line)
