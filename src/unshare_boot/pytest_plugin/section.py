"""Tell from a report whether a test failed for lack of a network, or for what else isolates it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from errno import ECONNREFUSED, EHOSTUNREACH, ENETDOWN, ENETUNREACH, EOVERFLOW
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

# Of initdb and postgres, mysqld, memcached, Chromium and others that refuse uid 0.
REFUSES_ROOT = re.compile(
    r"\brun(?:ning)?\b[^.\n]{0,40}? as (?:the )?[\"'`]?root\b|\"root\" execution", re.IGNORECASE
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


def hints(report: Any, call: pytest.CallInfo[Any] | None, names: tuple[str, ...]) -> list[str]:
    """Return a line for each other thing of the isolation that a failure may be of.

    Args:
        report: pytest's.
        call: what it is the report of; None where pytest does not say.
        names: of the namespaces that hold.
    """
    found = []
    words = "\n".join([str(report.longrepr), *(content for _, content in report.sections)])
    if "user" in names and os.getuid() == 0 and REFUSES_ROOT.search(words):
        found.append(
            "The uid is 0 here, by user in the list, and a program refuses that: user=current "
            "keeps your own uid (docs/root.md)."
        )
    error = call.excinfo.value if call and call.excinfo else None
    errnos = [getattr(each, "errno", None) for each in _related(error)] if error else []
    if "mount" in names and (EOVERFLOW in errnos or os.strerror(EOVERFLOW) in words):
        found.append(
            "EOVERFLOW in an overlay: the file belongs to a user or group that has no id here. "
            "map-groups=GID:GID:1 gives it one, where /etc/subgid allows that (docs/reference.md)."
        )
    return found


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
