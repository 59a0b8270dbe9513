"""What @pytest.mark.unshare says, and what a test is told that does not get it."""

from __future__ import annotations

from typing import NoReturn

import pytest

from ..errors import NoAlternative, UnshareError
from ..namespaces import Plan
from .isolation import Run
from .names import MARKER


def plans_of_marker(item: pytest.Item) -> list[tuple[str, Plan | None]]:
    """Return the alternatives of a test's marker, each with its plan; None says to do nothing.

    Raises:
        pytest.fail.Exception: it is not understood.
    """
    from .. import plan_of
    from ..language import alternatives

    marker = item.get_closest_marker(MARKER)
    assert marker is not None
    if len(marker.args) != 1 or marker.kwargs or not isinstance(marker.args[0], str):
        pytest.fail(
            f'@pytest.mark.{MARKER} takes one list, such as "user,net", '
            f"not {marker.args!r} {marker.kwargs!r}",
            pytrace=False,
        )
    try:
        return [(each, plan_of(each)) for each in alternatives(marker.args[0])]
    except UnshareError as error:
        refusal = error
    pytest.fail(f"@pytest.mark.{MARKER}({marker.args[0]!r}): {refusal}", pytrace=False)


def refuse(item: pytest.Item, refused: list[tuple[str, UnshareError]]) -> NoReturn:
    """Fail or skip a test whose namespaces are not available, as unshare_on_error says.

    Args:
        item: the test.
        refused: its alternatives, each with why not.
    """
    from .whole_run import why

    text, error = "|".join(each for each, _ in refused), NoAlternative.of(refused)
    if item.config.getini("unshare_on_error") == "fail":
        reason = f"@pytest.mark.{MARKER}({text!r}): refused, the test was not run"
        pytest.fail(f"{reason}\n{why(text, error)}", pytrace=False)
    pytest.skip(f"{text}: {error}")


def text_of(item: pytest.Item) -> str:
    """Return the list of a test's marker."""
    text: str = item.get_closest_marker(MARKER).args[0]  # type: ignore[union-attr]
    return text


def run_of(item: pytest.Item) -> Run:
    """Return what a test is told of the isolation that its marker brings."""
    return Run(f"@pytest.mark.{MARKER}({text_of(item)!r})", compare="take the marker away")


WHOLE = True
