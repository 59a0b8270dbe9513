"""Isolate a program from its own first line, with nothing in the environment.

python examples/program_of_its_own.py
"""

import os
import socket

import unshare_boot

try:
    unshare_boot.unshare("user,net,uts=sandbox")
except unshare_boot.UnshareError as error:
    raise SystemExit(f"cannot isolate myself: {error}") from None

print("active:", ", ".join(unshare_boot.active()))
print("hostname:", socket.gethostname())
print("uid inside:", os.getuid())
print("interfaces:", [name for _, name in socket.if_nameindex()])
