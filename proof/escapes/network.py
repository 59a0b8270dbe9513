"""The network, and unix sockets."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct

from proof.escapes.attempt import ROOT, ROOT_IN_NET, USER, Scene, attempt, let_through
from proof.escapes.kernel import call, read


def _send(connection: socket.socket, scene: Scene) -> None:
    connection.sendall(scene["token"].encode())
    connection.close()


@attempt("connect to a TCP port at 127.0.0.1", USER, noticed="tcp")
def connect(scene: Scene) -> None:
    _send(socket.create_connection(("127.0.0.1", scene["tcp"]), 5), scene)


@attempt(
    "connect to a TCP port at another address of the host", USER, noticed="tcp", needs=("address",)
)
def connect_to_address(scene: Scene) -> None:
    _send(socket.create_connection((scene["address"], scene["tcp"]), 5), scene)


@attempt("send a datagram to a UDP port at 127.0.0.1", USER, noticed="udp")
def datagram(scene: Scene) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", scene["udp"]))
        client.send(scene["token"].encode())
        number = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, "what became of it")


@attempt("connect to a TCP port by io_uring", USER, noticed="tcp", lacking=("ENOSYS", "EPERM"))
def io_uring(scene: Scene) -> None:
    parameters = bytearray(120)  # struct io_uring_params
    ring = call("io_uring_setup", 1, (ctypes.c_char * 120).from_buffer(parameters))
    fields = struct.unpack("10I8IQ8IQ", parameters)
    queue = mmap.mmap(ring, fields[10 + 6] + 4 * fields[0], offset=0)
    completions = mmap.mmap(ring, fields[19 + 5] + 16 * fields[1], offset=0x8000000)
    entries = mmap.mmap(ring, 64 * fields[0], offset=0x10000000)
    client = socket.socket()
    address = ctypes.create_string_buffer(
        struct.pack("=H", socket.AF_INET)
        + struct.pack("!H4s8x", scene["tcp"], socket.inet_aton("127.0.0.1"))
    )
    operation = 16  # IORING_OP_CONNECT: descriptor, length, pointer
    entries[:64] = struct.pack(
        "=BBHiQQ40x", operation, 0, 0, client.fileno(), 16, ctypes.addressof(address)
    )
    queue[fields[16] : fields[16] + 4] = bytes(4)  # the array: entry 0
    queue[fields[11] : fields[11] + 4] = struct.pack("=I", 1)  # the tail
    call("io_uring_enter", ring, 1, 1, 1, None, 0)
    at = fields[24]
    (result,) = struct.unpack("=i", completions[at + 8 : at + 12])
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    _send(client, scene)


@attempt("send an ICMP packet by a raw socket", ROOT, needs=("address",))
def raw(scene: Scene) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client:
        client.sendto(b"\x08\x00\xf7\xff\0\0\0\0", (scene["address"], 0))


@attempt("listen at an interface of the host by a packet socket", ROOT, needs=("interface",))
def packet(scene: Scene) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as client:
        client.bind((scene["interface"], 0))


@attempt("connect to an abstract unix socket", USER, noticed="abstract")
def abstract(scene: Scene) -> None:
    client = socket.socket(socket.AF_UNIX)
    client.connect("\0" + scene["abstract"])
    _send(client, scene)


@attempt("connect to a unix socket by its path", USER, noticed="path")
def by_path(scene: Scene) -> None:
    client = socket.socket(socket.AF_UNIX)
    client.connect(scene["path"])
    _send(client, scene)


@attempt(
    "get a TCP connection passed by a unix socket (SCM_RIGHTS)",
    USER,
    noticed="tcp",
    needs=("giver",),
)
def passed(scene: Scene) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(scene["giver"])
        _, data, _, _ = client.recvmsg(1, socket.CMSG_SPACE(4))
    (descriptor,) = struct.unpack("i", data[0][2])
    _send(socket.socket(fileno=descriptor), scene)


@attempt("use an inherited TCP connection", USER, noticed="tcp", inherits=("connection",))
def inherited_connection(scene: Scene) -> None:
    _send(socket.socket(fileno=scene["connection"]), scene)


@attempt(
    "pass for root at a unix socket (SCM_CREDENTIALS)",
    ROOT,
    noticed="credentials",
)
def credentials(scene: Scene) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(scene["path"])
        own = struct.pack("3i", os.getpid(), 0, 0)
        data = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, own)]
        client.sendmsg([scene["token"].encode()], data)


@attempt(
    "find a vsock port taken that the host has bound",
    USER,
    needs=("vsock",),
)
def vsock(scene: Scene) -> None:
    """Where they are shared, a port that the host has bound cannot be bound again."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as other:
        let_through(errno.EADDRINUSE, lambda: other.bind((socket.VMADDR_CID_ANY, scene["vsock"])))
        try:
            bound = other.getsockname()[1] == scene["vsock"]
        except OSError:
            bound = False
        if bound:
            raise OSError(errno.EADDRNOTAVAIL, "this is another one of that number")


NETLINK_ROUTE = 0
NETLINK_SOCK_DIAG = 4
NETLINK_AUDIT = 9


def _attribute(kind: int, value: bytes) -> bytes:
    padded = value + bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + padded


def _netlink(family: int, kind: int, body: bytes, flags: int = 0) -> bytes:
    """Send one message; returns the body of the answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as client:
        header = struct.pack("=IHHII", 16 + len(body), kind, 0x5 | flags, 1, 0)  # REQUEST, ACK
        client.sendto(header + body, (0, 0))
        answer = client.recv(65536)
        answered = struct.unpack("=H", answer[4:6])[0]
        if answered == 2:  # NLMSG_ERROR
            number = -struct.unpack("=i", answer[16:20])[0]
            if number:
                raise OSError(number, os.strerror(number))
        return answer[16:]


@attempt(
    "look up a listening socket of the host (sock_diag)",
    USER,
    lacking=("ENOENT", "EINVAL"),
)
def sock_diag(scene: Scene) -> None:
    identity = struct.pack("!HH16s16s", scene["tcp"], 0, socket.inet_aton("127.0.0.1"), b"")
    body = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
    _netlink(NETLINK_SOCK_DIAG, 20, body + identity + struct.pack("=III", 0, *[0xFFFFFFFF] * 2))


@attempt("read the host's connections in /proc/PID/net/tcp", USER)
def connections(scene: Scene) -> None:
    text = read(f"/proc/{scene['host']}/net/tcp")
    if f":{scene['tcp']:04X} " not in text:
        raise OSError(errno.ENOENT, "it is another list")


def _veth(scene: Scene, where: bytes) -> None:
    """RTM_NEWLINK of a pair, one end of which is to appear elsewhere."""
    name = b"v" + scene["token"][:8].encode()
    peer = bytes(16) + _attribute(3, b"w" + name[1:] + b"\0")  # IFLA_IFNAME
    info = _attribute(1, b"veth") + _attribute(2, _attribute(1, peer))  # KIND, DATA: VETH_INFO_PEER
    body = bytes(16) + _attribute(3, name + b"\0") + _attribute(18, info) + where
    _netlink(NETLINK_ROUTE, 16, body, 0x600)  # CREATE, EXCL


@attempt(
    "make an interface in the host's network namespace by a process id",
    ROOT_IN_NET,
    noticed="interface",
    lacking=("EOPNOTSUPP",),
)
def veth_by_pid(scene: Scene) -> None:
    _veth(scene, _attribute(19, struct.pack("=I", scene["host"])))  # IFLA_NET_NS_PID


@attempt(
    "make an interface there by an inherited descriptor",
    ROOT_IN_NET,
    noticed="interface",
    inherits=("net",),
    lacking=("EOPNOTSUPP",),
)
def veth_by_descriptor(scene: Scene) -> None:
    _veth(scene, _attribute(28, struct.pack("=I", scene["net"])))  # IFLA_NET_NS_FD


@attempt(
    "list the interfaces there by that descriptor (IFLA_TARGET_NETNSID)",
    ROOT_IN_NET,
    inherits=("net",),
)
def target_nsid(scene: Scene) -> None:
    number = struct.pack("=i", 4711)
    where = _attribute(1, number) + _attribute(3, struct.pack("=I", scene["net"]))
    _netlink(NETLINK_ROUTE, 88, bytes(4) + where)  # RTM_NEWNSID
    name = _attribute(3, b"lo\0")
    _netlink(NETLINK_ROUTE, 18, bytes(16) + _attribute(46, number) + name)  # RTM_GETLINK


@attempt("talk to the audit system", ROOT, lacking=("EPROTONOSUPPORT",))
def audit(scene: Scene) -> None:
    _netlink(NETLINK_AUDIT, 1000, b"")  # AUDIT_GET
