"""Tell whether a report is of a test that failed because nothing outside can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from errno import ECONNREFUSED, EHOSTUNREACH, ENETDOWN, ENETUNREACH
from typing import Any

import pytest

TITLE = "isolated by unshare-boot"

UNREACHABLE = (ECONNREFUSED, EHOSTUNREACH, ENETDOWN, ENETUNREACH)

# What programs and C libraries say of the same errors: getaddrinfo(3), errno(3), curl and git.
PHRASES = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "No address associated with hostname",
    "Could not resolve",
    "Couldn't resolve",
    "Network is unreachable",
    "Network unreachable",
    "No route to host",
    "Connection refused",
    "ECONNREFUSED",
    "ENETUNREACH",
    "ENOTFOUND",
    "EAI_AGAIN",
)


def is_of_network(report: Any, call: pytest.CallInfo[Any] | None) -> bool:
    """Tell whether a failure is one of the network, by its exception or by what was written.

    Args:
        report: pytest's, of a test or of a module that was to be collected.
        call: what it is the report of; None where pytest does not say.
    """
    error = call.excinfo.value if call and call.excinfo else None
    if error and any(map(_is_network_error, _related(error))):
        return True
    words = [str(report.longrepr), *(content for _, content in report.sections)]
    return any(phrase in text for text in words for phrase in PHRASES)


def add(report: Any, content: str, title: str = TITLE) -> None:
    """Add our section to a report, where it is shown whatever ``--show-capture`` says."""
    if hasattr(report.longrepr, "addsection"):
        report.longrepr.addsection(title, content)
    else:
        report.sections.append((title, content))


def _related(error: BaseException) -> Iterator[BaseException]:
    """Go through an exception, its causes, and those that it wraps (as requests' do in args)."""
    todo: list[Any] = [error]
    seen = set()
    while todo:
        each = todo.pop()
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            todo += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
            todo += getattr(each, "exceptions", ())


def _is_network_error(error: BaseException) -> bool:
    """Tell whether an exception is what somebody gets who cannot reach anything."""
    from socket import gaierror, herror

    if isinstance(error, (gaierror, herror)):
        return True
    return isinstance(error, OSError) and error.errno in UNREACHABLE


WHOLE = True
