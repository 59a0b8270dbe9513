"""What differs between builds of Python: the free-threaded one keeps its promise."""

from __future__ import annotations

import pytest

from harness import Python

GIL = "import sys; print(getattr(sys, '_is_gil_enabled', lambda: True)())"
LISTS = [
    "user,net,mount,uts,ipc,cgroup,time=+1,pid,addr=192.0.2.1/32,tmpfs=/mnt,caps=none",
    "user,net=gate,allow=192.0.2.1:443",
    "sockets=unix",
]


@pytest.mark.parametrize("unshare", LISTS)
def test_the_gil_stays_as_it_is(python: Python, unshare: str) -> None:
    """An extension module that knows nothing of free threading would switch it on (PEP 703)."""
    assert python.run(GIL, unshare=unshare).ok() == python.run(GIL).ok()
