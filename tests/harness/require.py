"""What a test needs of the machine: skipped on a laptop that lacks it, failed in CI."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from typing import NoReturn

import pytest

SYSTEMD = "/lib/systemd"  # has programs that are on nobody's PATH, such as systemd-resolved(8)
# An ordinary user's PATH often lacks the directories of ip(8) and setcap(8).
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

NEEDS_ROOT = "needs root"


def require_tool(name: str) -> str:
    """The path of a program; without it the test is skipped, or fails where CI is set."""
    path = shutil.which(name, path=f"{SEARCH_PATH}:{SYSTEMD}")
    if path is None:
        _lacking(f"needs the program {name}")
    return path


def require_root() -> None:
    """Skip a test that only root can run; where CI is set, the suite has to run as root."""
    if os.getuid() != 0:
        _lacking(NEEDS_ROOT)


def require_module(name: str) -> None:
    """Skip a test that imports what is not installed, or fail where CI is set."""
    if importlib.util.find_spec(name) is None:
        _lacking(f"needs the package {name}")


def require_kernel(version: str) -> None:
    """Skip a test of what an older kernel cannot do, ``version`` being such as 6.6."""
    have = [int(number) for number in os.uname().release.replace("-", ".").split(".")[:2]]
    if have < [int(number) for number in version.split(".")]:
        _lacking(f"needs Linux {version}")


def require_strace(calls: str = "") -> str:
    """The path of strace(1), of one that knows all of these system calls, separated by commas."""
    path = require_tool("strace")
    command = [path, "-e", f"trace={calls or 'all'}", "-o", "/dev/null", "true"]
    said = subprocess.run(command, stderr=subprocess.PIPE, text=True).stderr
    if "invalid system call" in said:
        _lacking(f"needs a strace that knows {calls}")
    return path


def _lacking(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
