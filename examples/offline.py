"""Show that nothing gets out, whoever tries: this program, a subprocess, a C library.

PY_UNSHARE=user,net python examples/offline.py
"""

import socket
import subprocess

print("interfaces:", [name for _, name in socket.if_nameindex()])

try:
    socket.create_connection(("192.0.2.1", 443), timeout=5)
except OSError as error:
    print("connect:", error.strerror)

try:
    socket.getaddrinfo("example.org", 443)
except socket.gaierror:
    print("getaddrinfo: no answer")

done = subprocess.run(["git", "ls-remote", "https://192.0.2.1/repository"], capture_output=True)
print("git:", "got through" if done.returncode == 0 else "failed")
