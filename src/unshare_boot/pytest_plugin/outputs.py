"""What a run is told to write that would be gone at its end: below an overlay, or a tmpfs.

Reports are for the outside. A path elsewhere keeps them; so does an overlay with a directory for
its changes.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from ..namespaces import Plan
from ..procfiles import is_below

# Options of pytest and its plugins that name a file or directory, and what that is by default.
OPTIONS = {
    "xmlpath": "--junitxml",
    "report_log": "--report-log",
    "htmlpath": "--html",
    "csv": "--csv",
    "unshare_record": "--unshare-record",
    "benchmark_json": "--benchmark-json",
    "json_report_file": "--json-report-file",
}
OF_COVERAGE = {
    "xml": "coverage.xml",
    "json": "coverage.json",
    "lcov": "coverage.lcov",
    "html": "htmlcov",
    "annotate": ".",
}


def lost(config: pytest.Config, plan: Plan) -> str:
    """Return what would be lost, in words; "" for nothing.

    Args:
        config: of the run.
        plan: of its list.
    """
    covers = [o for o in plan.operations if o[0] in ("overlay", "tmpfs")]
    stays = tuple(f"{os.path.realpath(o[1])}/" for o in plan.operations if o[0] == "rw")
    for option, path in _outputs(config.known_args_namespace):
        real = os.path.realpath(path)
        for name, directory, *kept in covers:
            if name == "tmpfs" and f"{real}/".startswith(stays):
                continue
            top = os.path.realpath(directory)
            if not (name == "overlay" and kept) and is_below(f"{real}/", top):
                return (
                    f"{option} writes {path}, which lies below {name}={directory} and would be "
                    "gone at the end: give it a path elsewhere"
                )
    return ""


def _outputs(options: Any) -> list[tuple[str, str]]:
    """Return the options that have a run write something, each with where."""
    found = [
        (option, str(getattr(value, "name", value)))
        for name, option in OPTIONS.items()
        if (value := getattr(options, name, None))
        and (name != "json_report_file" or getattr(options, "json_report", False))
    ]
    reports = getattr(options, "cov_report", None)
    if getattr(options, "cov_source", None) and isinstance(reports, dict):
        found += [
            (f"--cov-report={kind}", where or OF_COVERAGE[kind])
            for kind, where in reports.items()
            if kind in OF_COVERAGE
        ]
    return found


WHOLE = True
