"""Be root and listen on port 80, started by an ordinary user: nothing in here knows of namespaces.

PY_UNSHARE=user,net python examples/port80.py
"""

import os
import socket

print(f"uid {os.getuid()}, gid {os.getgid()}")

with socket.create_server(("127.0.0.1", 80)) as server:
    host, port = server.getsockname()
    print(f"listening on {host}:{port}")
    with socket.create_connection((host, port)) as client:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"hello from port 80")
        print(client.recv(100).decode())
