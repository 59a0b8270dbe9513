"""addr: more addresses on the loopback interface."""

from __future__ import annotations

import re
from pathlib import Path

from harness import Python, require_tool
from harness.processes import Argument

TALK = """
import socket, sys
for address in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        with socket.create_connection(server.getsockname()[:2], 10) as client:
            connection, peer = server.accept()
            connection.sendall(b"hello")
            connection.close()
            print(address, client.recv(9).decode())
"""


def test_they_can_be_talked_to(either: Python) -> None:
    listing = "user,net,addr=10.0.0.1/8,addr=192.0.2.7/32,addr=fd00::1/64,addr=2001:db8::2/128"
    addresses = ["10.0.0.1", "192.0.2.7", "fd00::1", "2001:db8::2", "127.0.0.1", "::1"]
    done = either.run(["-c", TALK, *addresses], unshare=listing)
    assert done.ok() == "".join(f"{address} hello\n" for address in addresses)


def test_an_ipv6_address_is_usable_at_once(either: Python, workdir: Path) -> None:
    """The kernel adds its route by a worker; the last thing that the hook hears is that it has.

    A program that connects at once loses that race only now and then, on a busy machine.
    """
    trace = workdir / "trace"
    strace: list[Argument] = [require_tool("strace"), "-e", "trace=recvfrom", "-o", trace]
    command = [*strace, *either.command("pass")]
    either.user.run(command, env={"PY_UNSHARE": "user,net,addr=fd00::1/64"}).ok()
    answers = [line for line in trace.read_text().splitlines() if line.startswith("recvfrom(")]
    # struct rtmsg: the table local, whoever added it, everywhere, RTN_LOCAL
    assert re.search(r"RTN_LOCAL|\\xff\\x02\\x00\\x02", answers[-1]), answers


def test_the_whole_network_is_local(newest: Python) -> None:
    done = newest.run(["-c", TALK, "10.200.3.4"], unshare="user,net,addr=10.0.0.1/8")
    assert done.ok() == "10.200.3.4 hello\n"
    done = newest.run(["-c", TALK, "10.200.3.4"], unshare="user,net,addr=10.0.0.1/32")
    assert done.status == 1 and "Cannot assign requested address" in done.stderr


def test_as_ip_shows_them(newest: Python) -> None:
    ip = require_tool("ip")
    code = f"import os; os.execv({ip!r}, ['ip', '-brief', 'address'])"
    done = newest.run(code, unshare="user,net,addr=10.0.0.1/8,addr=fd00::1/64")
    words = done.ok().split()
    assert words[0] == "lo"
    assert sorted(words[2:]) == ["10.0.0.1/8", "127.0.0.1/8", "::1/128", "fd00::1/64"]


RESOLVE = """
import socket
for family, host in (socket.AF_INET, "localhost"), (socket.AF_INET6, "::1"):
    try:
        kind, flags = socket.SOCK_STREAM, socket.AI_ADDRCONFIG
        found = socket.getaddrinfo(host, 80, family, kind, 0, flags)
        print(*sorted({each[4][0] for each in found}))
    except socket.gaierror:
        print("none")
"""


def test_localhost_with_addrconfig(either: Python) -> None:
    """getaddrinfo(3): a loopback address does not count as one that the machine has."""
    assert either.run(RESOLVE, unshare="user,net").ok() == "none\nnone\n"
    listing = "user,net,addr=10.0.0.1/8"
    assert either.run(RESOLVE, unshare=listing).ok() == "127.0.0.1\nnone\n"
    listing += ",addr=fd00::1/64"
    assert either.run(RESOLVE, unshare=listing).ok() == "127.0.0.1\n::1\n"


def test_those_that_lo_has_already(newest: Python) -> None:
    done = newest.run(
        ["-c", TALK, "127.0.0.1", "::1"], unshare="user,net,addr=127.0.0.1/8,addr=::1/128"
    )
    assert done.ok() == "127.0.0.1 hello\n::1 hello\n"


def test_one_with_another_prefix(newest: Python) -> None:
    ip = require_tool("ip")
    code = f"import os; os.execv({ip!r}, ['ip', '-brief', '-4', 'address'])"
    done = newest.run(code, unshare="user,net,addr=127.0.0.1/16")
    assert sorted(done.ok().split()[2:]) == ["127.0.0.1/16", "127.0.0.1/8"]
    done = newest.run("", unshare="user,net,addr=::1/64")
    assert done.status == 125 and "addr=::1/64" in done.stderr


def test_what_the_kernel_refuses(newest: Python) -> None:
    done = newest.run("print('user code')", unshare="user,net,addr=fd00::1/64,addr=::1/64")
    assert (done.status, done.stdout) == (125, "")
    assert "addr='::1/64': netlink(RTM_NEWADDR)" in done.stderr


def test_as_root(newest: Python) -> None:
    done = newest.run(["-c", TALK, "fd00::1"], unshare="net,addr=fd00::1/64", as_root=True)
    assert done.ok() == "fd00::1 hello\n"
