"""Run in a machine, as root: each scenario, each list, and each cure as printed; JSON, a line each.

It has cures.py and scenarios.py beside it, and the wheel installed; Python 3.9 or later.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence

from cures import ways  # type: ignore[import-not-found,unused-ignore]
from scenarios import (  # type: ignore[import-not-found,unused-ignore]
    CHECKS,
    SCENARIOS,
    Scenario,
)

CODE = "import unshare_boot; print(*unshare_boot.active())"
AS_USER = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups")


def start(scenario: Scenario, unshare: str) -> dict[str, object]:
    """Start a list, and return what came of it."""
    user = () if scenario.root else AS_USER
    code = f"{CODE}\n{CHECKS.get(unshare, '')}"
    command = [*user, *scenario.by, "/usr/bin/python3", "-c", code]
    if scenario.within:
        script = f'{scenario.within}\nexec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    env = {"PATH": os.environ["PATH"], "HOME": "/tmp", "PY_UNSHARE": unshare}
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd="/tmp")
    assert done.returncode in (0, 125), (scenario.name, unshare, done.stderr)
    told = dict(re.findall(r"^  (what|why|cure|more): +(.*)$", done.stderr, re.MULTILINE))
    return {"status": done.returncode, "active": done.stdout.split(), "told": told}


def tried(scenario: Scenario, unshare: str) -> dict[str, object]:
    """Start a list, and by every way out that the cure names."""
    _shell(scenario.setup)
    found = start(scenario, unshare)
    after = []
    told = found["told"]
    cure = told.get("cure", "") if isinstance(told, dict) else ""
    for way in ways(cure, unshare, scenario.taken) if found["status"] else ():
        _shell(scenario.setup)
        for command in way.options:
            _shell(command)
        after.append({"commands": way.options, "list": way.unshare, **start(scenario, way.unshare)})
    _shell(scenario.undo)
    return {"scenario": scenario.name, "list": unshare, **found, "after": after}


def _shell(script: str) -> int:
    quiet = subprocess.DEVNULL
    return subprocess.run(["sh", "-c", script], stderr=quiet, stdout=quiet).returncode


def main(names: Sequence[str]) -> None:
    """Try them all, or those that are named."""
    _shell("echo +pids >/sys/fs/cgroup/cgroup.subtree_control")
    for scenario in SCENARIOS:
        if (not names or scenario.name in names) and _shell(scenario.only) == 0:
            for unshare in scenario.lists:
                print(json.dumps(tried(scenario, unshare)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
