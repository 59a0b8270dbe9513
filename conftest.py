"""The fixtures of tests/, proof/ and hosts/: see harness/__init__.py."""

from __future__ import annotations

pytest_plugins = ["harness.plugin", "harness.faults.trial"]
