"""Attempts to get out, or to more rights: small functions, and the world that they start from.

An attempt is one small function, run by an interpreter that is isolated for real (`python -m
proof.escapes NAME`), which is told of the world outside in JSON on its standard input, and says on
its standard output what it has got, or with which errors the kernel has refused. It is started by
`outside`, which has all that could be reached, and looks whether something was. Both run in the
interpreter under test, so they need nothing but Python's own modules, from 3.9 on.

What an attempt is called here is what its row is called in docs/attempts.md.
"""

from __future__ import annotations

from proof.escapes import machine, mounts, names, namespaces, network, processes
from proof.escapes.attempt import ATTEMPTS, Attempt

ROOMS = (network, namespaces, processes, names, machine, mounts)  # which have filled the list

__all__ = ["ATTEMPTS", "ROOMS", "Attempt"]
