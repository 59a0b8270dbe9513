"""net=gate: what is allowed passes, all else is refused and told; in an internet of namespaces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import Finished, Python, Session, require_tool
from harness.gate import CODE, run
from harness.internet import ECHO_PORT, NAME, SERVER, SERVER6, SITE, Site
from harness.visitor import Visitor, said

OTHER = 7099  # a port that nobody listens at
HOSTS = f"""127.0.0.1 localhost
::1 localhost
127.0.0.1 trap.example.test
169.254.169.254 meta.example.test
198.51.100.77 gone.example.test
{SERVER6} six.example.test
{SITE} dns.example.test
"""


@pytest.fixture(scope="module")
def site(site: Site, session: Session) -> Site:
    """With names of its own in /etc/hosts."""
    hosts = session.make_workdir() / "hosts"
    hosts.write_text(HOSTS)
    subprocess.run(site.enter("mount", "--bind", hosts, "/etc/hosts"), check=True)
    return site


@pytest.fixture(autouse=True)
def nothing_is_left(site: Site) -> Iterator[None]:
    yield
    left = site.wait_until_left()
    assert not left, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]


@pytest.fixture(params=["oldest", "newest"])
def visitor(request: pytest.FixtureRequest, site: Site) -> Visitor:
    return Visitor(request.getfixturevalue(request.param), site)


@pytest.fixture
def one(newest: Python, site: Site) -> Visitor:
    return Visitor(newest, site)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# What passes, and what does not.


@pytest.mark.parametrize(
    "more", ["user", "user=current,caps=none", "user,pid,mount,time", "user,sys,ipc", "offline"]
)
def test_a_name_that_is_allowed(visitor: Visitor, more: str) -> None:
    unshare = f"{more},net,allow={NAME}:{ECHO_PORT}".replace("offline,net", "offline")
    code = f"print(try_tcp({NAME!r}, {ECHO_PORT}), try_tcp({NAME!r}, {OTHER}))"
    assert run(visitor, code, unshare) == "b'hello' ECONNREFUSED\n"


def test_as_root_without_a_user_namespace(one: Visitor) -> None:
    code = f"print(try_tcp({NAME!r}, {ECHO_PORT}), try_tcp({SERVER!r}, {ECHO_PORT}))"
    unshare = f"net,allow={NAME}:{ECHO_PORT}"
    # The address is that of the name: it makes no difference how a program came to know it.
    assert run(one, code, unshare, as_root=True) == "b'hello' b'hello'\n"


@pytest.mark.parametrize(
    ("allow", "host", "works"),
    [
        (f"{SERVER}:{ECHO_PORT}", SERVER, True),
        (f"[{SERVER6}]:{ECHO_PORT}", SERVER6, True),
        ("203.0.113.0/24:7000-7010", SERVER, True),
        ("[2001:db8::]/32:7000-7010", SERVER6, True),
        (f"*.example.test:{ECHO_PORT}", NAME, True),
        (f"six.example.test:{ECHO_PORT}", SERVER6, True),
        (f"203.0.113.11:{ECHO_PORT}", SERVER, False),
        (f"*.{NAME}:{ECHO_PORT}", NAME, False),
        (f"other.example.test:{ECHO_PORT}", NAME, False),
        (f"{NAME}:{ECHO_PORT}/udp", NAME, False),
        (f"{SERVER}:{OTHER}", SERVER, False),
    ],
)
def test_what_a_rule_is_for(one: Visitor, allow: str, host: str, works: bool) -> None:
    printed = run(one, f"print(try_tcp({host!r}, {ECHO_PORT}))", f"user,net,allow={allow}")
    assert printed == ("b'hello'\n" if works else "ECONNREFUSED\n")


def test_datagrams(visitor: Visitor) -> None:
    unshare = f"user,net,allow={NAME}:{ECHO_PORT}/udp,allow=[{SERVER6}]:{ECHO_PORT}/udp"
    code = f"""
for host in ({NAME!r}, {SERVER6!r}, "other.example.test"):
    print(try_udp(host, {ECHO_PORT}, bytes(1200)) in (bytes(1200),), try_udp(host, {OTHER}))
"""
    wanted = "True ECONNREFUSED\nTrue ECONNREFUSED\nFalse ECONNREFUSED\n"
    assert run(visitor, code, unshare) == wanted


@pytest.mark.parametrize("host", [SITE, "dns.example.test"])
def test_a_resolver_that_is_allowed(one: Visitor, site: Site, host: str) -> None:
    """It is reached itself, but for the addresses of names that the list has."""
    code = f"""
print(try_tcp({host!r}, 53), try_udp({host!r}, 53))
print([each for each in told("protocol", "port", "verdict") if each[0] != "dns"])
"""
    unshare = f"offline,allow={host}:53,allow={host}:53/udp"
    with site.listen(f"tcp:{SITE}:53", f"udp:{SITE}:53"):
        told = "[('tcp', 53, 'passed'), ('udp', 53, 'passed')]\n"
        assert run(one, code, unshare) == f"b'hello' b'hello'\n{told}"
    nobody = f"print(try_tcp({host!r}, 53), told('verdict')[-1:])"
    assert run(one, nobody, unshare) == "ECONNRESET [('refused',)]\n"


def test_the_ports_that_a_gate_has(one: Visitor, site: Site) -> None:
    """Where it answers for names, and tells the record, is no less to be allowed."""
    code = f"""
print(try_tcp({SITE!r}, 1), try_tcp({SITE!r}, 2), try_tcp({SERVER!r}, 1))
print(told("address", "port", "verdict"))
"""
    told = [(SITE, 1, "passed"), (SITE, 2, "refused"), (SERVER, 1, "refused")]
    with site.listen(f"tcp:{SITE}:1"):
        said = run(one, code, f"offline,allow={SITE}:1-2")
    assert said == f"b'hello' ECONNREFUSED ECONNREFUSED\n{told}\n"


def test_names_of_a_resolver_that_is_allowed(one: Visitor) -> None:
    """The one of resolv.conf(5)."""
    code = f"print(socket.gethostbyname({NAME!r}), try_tcp({NAME!r}, {ECHO_PORT}))"
    resolver = f"allow={SERVER}:53/udp"
    assert run(one, code, f"offline,{resolver}") == f"{SERVER} ECONNREFUSED\n"
    both = f"offline,{resolver},allow={NAME}:{ECHO_PORT}"
    assert run(one, code, both) == "198.18.1.0 b'hello'\n"


@pytest.mark.parametrize(
    ("host", "errno"),
    [
        ("trap.example.test", "EHOSTUNREACH"),
        ("meta.example.test", "EHOSTUNREACH"),
        ("gone.example.test", "EHOSTUNREACH"),
        ("missing.example.test", "EHOSTUNREACH"),
    ],
)
def test_names_that_lead_nowhere(one: Visitor, host: str, errno: str) -> None:
    """Not to loopback, not to where clouds keep credentials, whatever the resolver says.

    The resolver of the program is the gate here, without the file that the helper's has.
    """
    code = f"""
query = b"\\0\\1\\1\\0\\0\\1" + bytes(6)
query += b"".join(bytes([len(part)]) + part.encode() for part in {host!r}.split("."))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(20)
    client.sendto(query + b"\\0\\0\\1\\0\\1", ({SERVER!r}, 53))
    address = socket.inet_ntoa(client.recv(512)[-4:])
print(address[:7], try_tcp(address, {ECHO_PORT}))
"""
    printed = run(one, code, f"user,net,allow={host}:{ECHO_PORT}")
    assert printed == f"198.18. {errno}\n"


def test_an_error_of_the_far_side_is_the_programs(one: Visitor) -> None:
    """connect(2) fails as it would outside: nobody listens, or the connection is reset."""
    code = f"""
print(try_tcp({SERVER!r}, {OTHER}))
with socket.create_connection(({SERVER!r}, {ECHO_PORT})) as connection:
    connection.recv(100)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1" + bytes(3) + bytes(4))
print(try_tcp({SERVER!r}, {ECHO_PORT}))
"""
    unshare = f"user,net,allow={SERVER}:{ECHO_PORT},allow={SERVER}:{OTHER}"
    assert run(one, code, unshare) == "ECONNREFUSED\nb'hello'\n"


def test_much_and_many(one: Visitor) -> None:
    code = f"""
import hashlib, threading
data = os.urandom(1 << 24)
assert try_tcp({NAME!r}, {ECHO_PORT}, data[:1 << 20]) == data[:1 << 20]
right = []
def work():
    right.append(try_tcp({NAME!r}, {ECHO_PORT}, data[:100000]) == data[:100000])
threads = [threading.Thread(target=work) for _ in range(40)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(right), all(right))
"""
    assert run(one, code, f"user,net,allow={NAME}:{ECHO_PORT}") == "40 True\n"


def test_the_hosts_loopback(one: Visitor, site: Site) -> None:
    code = "print(try_tcp('127.0.0.1', 5432), try_tcp('::1', 5432), try_tcp('127.0.0.1', 5433))"
    with site.listen("tcp:127.0.0.1:5432", "tcp:::1:5432", "tcp:127.0.0.1:5433"):
        both = run(one, code, "user,net,allow=localhost:5432")
        four = run(one, code, "user,net,allow=127.0.0.1:5432")
        six = run(one, code, "user,net,allow=[::1]:5432")
    assert both == "b'hello' b'hello' ECONNREFUSED\n"
    assert four == "b'hello' ECONNREFUSED ECONNREFUSED\n"
    assert six == "ECONNREFUSED b'hello' ECONNREFUSED\n"


def test_the_programs_own_ports(one: Visitor) -> None:
    """None of them is the gate's, but those of the host's loopback that are allowed."""
    code = f"""
kept = []
for address in ("0.0.0.0", "127.0.0.1"):
    for port in (53, 443, {ECHO_PORT}, 1):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            server = socket.socket(socket.AF_INET, kind)
            server.bind((address, port))
            server.close()
print("all")
"""
    assert run(one, code, f"user,net,allow={NAME}:{ECHO_PORT},allow=github.com:443") == "all\n"


# The answerer.


def test_ones_own_address(one: Visitor) -> None:
    """As programs look it up; and getaddrinfo(3) with AI_ADDRCONFIG has an address to go by."""
    code = """
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.connect(("192.0.2.1", 9))
    print(client.getsockname()[0])
print(len(socket.getaddrinfo("x.test", 80, flags=socket.AI_ADDRCONFIG)) > 0)
"""
    assert run(one, code, "user,net=gate") == "198.18.0.2\nTrue\n"


@pytest.mark.parametrize(
    "message",
    [
        *("b''", "bytes(1)", "bytes(12)", "b'\\xff' * 600", "bytes(range(256)) * 234"),
        "bytes(5) + b'\\1' + bytes(6) + b'\\x3f' * 600",
        "bytes(5) + b'\\1' + bytes(6) + b'\\xc0\\x0c\\0\\1\\0\\1'",
    ],
)
def test_what_is_no_question(one: Visitor, message: str) -> None:
    """It is not answered, and does no harm: the next one is."""
    code = f"""
message = {message}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.sendto(message, ("192.0.2.1", 53))
with socket.create_connection(("192.0.2.1", 53)) as connection:
    connection.sendall(len(message).to_bytes(2, "big") + message)
    try:
        connection.shutdown(socket.SHUT_WR)
        connection.recv(10)
    except OSError:  # what is too long is not read to its end
        pass
print(socket.gethostbyname("x.test")[:7])
"""
    assert run(one, code, "user,net=gate") == "198.18.\n"


def test_bytes_that_no_host_name_has(one: Visitor) -> None:
    """A label may hold any bytes: they lead nowhere else, and others go on."""
    code = f"""
name, port = {NAME!r}, {ECHO_PORT}

def asked(label):
    labels = [label, *(part.encode() for part in name.split(".")[1:])]
    question = b"".join(bytes([len(each)]) + each for each in labels) + bytes([0, 0, 1, 0, 1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(bytes([1, 2, 1, 0, 0, 1]) + bytes(6) + question, ("192.0.2.1", 53))
        return socket.inet_ntoa(client.recv(512)[-4:])

labels = [bytes([255]) * (20 + each) for each in range(20)]
labels += [bytes([each]) for each in range(48) if each != 45]
labels += [name.encode() + bytes([each]) for each in (0, 9, 10, 32, 37, 46, 47, 64, 92)]
print({{try_tcp(asked(label), port) for label in labels}}, try_tcp(name, port))
"""
    allow = f"user,net=gate,allow=*.{NAME.partition('.')[2]}:{ECHO_PORT}"
    assert run(one, code, allow) == "{'EHOSTUNREACH'} b'hello'\n"


# The record.


def test_who_and_what(visitor: Visitor, workdir: Path) -> None:
    require_tool("curl")
    visitor.python.user.run(["touch", workdir / "record.jsonl"])
    code = f"""
import subprocess
subprocess.run(["curl", "-s", "http://www.example.test:8123/"])
try_tcp({NAME!r}, {ECHO_PORT})
try_udp("192.0.2.7", 99)
time.sleep(0.3)
"""
    unshare = f"user,net,allow={NAME}:{ECHO_PORT},record={workdir}/record.jsonl"
    run(visitor, code, unshare)
    found = lines(workdir / "record.jsonl")
    keys = ("protocol", "name", "port", "verdict", "reason")
    kinds = {tuple(each[key] for key in keys): each for each in found}
    refused = kinds["tcp", "www.example.test", 8123, "refused", "not in allow"]
    assert refused["command"] == "curl" and refused["pid"] > 1
    passed = kinds["tcp", NAME, ECHO_PORT, "passed", None]
    assert passed["command"].startswith("python")
    datagram = kinds["udp", None, 99, "refused", "not in allow"]
    assert datagram["address"] == "192.0.2.7"
    asked = kinds["dns", "www.example.test", 53, "refused", "not in allow"]
    assert asked["command"] == "curl"
    done = visitor.python.run(["-m", "unshare_boot", "allow", f"{workdir}/record.jsonl"])
    assert done.ok().splitlines() == ["allow=www.example.test:8123", "allow=192.0.2.7:99/udp"]


def test_who_tries_a_bare_address(visitor: Visitor, workdir: Path) -> None:
    """Exactly, among many that try at once and end at once, at ports that are served or not."""
    visitor.python.user.run(["touch", workdir / "record.jsonl"])
    code = """
import subprocess
child = "import os, socket, sys; host, port = sys.argv[1:]; print(host, port, os.getpid())\\n" \
    "family = socket.AF_INET6 if ':' in host else socket.AF_INET\\n" \
    "try: socket.socket(family).connect((host, int(port)))\\nexcept ConnectionRefusedError: pass"
targets = [(f"192.0.2.{number}", port) for number in range(8) for port in ("99", "443")]
targets += [(f"2001:db8::{number}", "99") for number in range(1, 5)]
children = [subprocess.Popen([sys.executable, "-c", child, *target]) for target in targets]
assert not any(each.wait() for each in children)
"""
    unshare = f"user,net,allow=x.test:440-450,record={workdir}/record.jsonl"
    told = {tuple(line.split()) for line in run(visitor, code, unshare).splitlines()}
    keys = "address", "port", "inner_pid"
    found = {tuple(str(each[key]) for key in keys) for each in lines(workdir / "record.jsonl")}
    assert found == told and len(found) == 20


def test_attempts(one: Visitor) -> None:
    code = """
try_tcp("192.0.2.7", 99)
pid = int(os.readlink("/proc/self"))
keys = "protocol", "address", "port", "verdict", "pid"
print(told(*keys) == [("tcp", "192.0.2.7", 99, "refused", pid)])
"""
    assert run(one, code, "user,net=gate") == "True\n"


def test_attempts_where_there_is_no_gate(newest: Python) -> None:
    code = f"{CODE}\ntry: told()\nexcept unshare_boot.UnshareError as error: print(error.errno)"
    assert newest.run(code).ok() == "107\n"
    assert newest.run(code, unshare="user,net").ok() == "107\n"


def test_lines_for_people(one: Visitor) -> None:
    done = one.run(f"{CODE}\nfor _ in range(3): try_tcp('www.example.test', 80)", "user,net,record")
    assert done.status == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("unshare-boot: tried www.example.test:80 (python")
    assert line.endswith("): refused (not in allow)")


def test_a_record_that_cannot_be_written(one: Visitor) -> None:
    done = one.run("print('user code')", "user,net,record=/nowhere/at/all")
    assert (done.status, done.stdout) == (125, "")
    assert "record='/nowhere/at/all': open(/nowhere/at/all): No such file" in done.stderr


# Failing closed.


def helpers(site: Site) -> list[int]:
    """The processes outside, the one that decides last."""
    return sorted(pid for pid in site.others() if b"unshare-gate" in comm(pid))


def comm(pid: int) -> bytes:
    return Path(f"/proc/{pid}/comm").read_bytes()


@pytest.mark.parametrize("which", [0, 1])
def test_a_helper_that_is_killed(one: Visitor, site: Site, which: int) -> None:
    """Nothing can be reached any more, at once; and it is told where somebody reads."""
    code = f"""{CODE}
print(try_tcp({NAME!r}, {ECHO_PORT}), flush=True)
sys.stdin.readline()
while try_tcp({SERVER!r}, {ECHO_PORT}) != "ENETUNREACH": time.sleep(0.01)
print(try_udp("192.0.2.1", 9), flush=True)
"""
    unshare = f"user,net,record,allow={NAME}:{ECHO_PORT},allow={SERVER}:{ECHO_PORT}"
    with one.popen(code, unshare) as child:
        assert child.stdin and child.stdout and child.stderr
        said(child, "b'hello'\n")
        os.kill(helpers(site)[which], signal.SIGKILL)
        child.stdin.write("\n")
        child.stdin.flush()
        said(child, "ENETUNREACH\n")
        assert child.wait() == 0
        if which == 1:
            assert "the gate was killed" in child.stderr.read()


ROOT_INSIDE = {
    "the interface is deleted": "ip link delete gate0",
    "another route": "ip route replace default dev lo",
    "another address": "ip address add 198.51.100.77/24 dev gate0",
    "a neighbour": "ip neighbour replace 198.18.0.1 lladdr 02:00:00:00:00:01 dev gate0",
    "promiscuous": "ip link set gate0 promisc on",
    "a forged source": "ip address add 203.0.113.99/32 dev gate0",
}


@pytest.mark.parametrize("how", ROOT_INSIDE)
def test_root_inside_reaches_nothing_more(one: Visitor, how: str) -> None:
    code = f"""
import subprocess
subprocess.run({ROOT_INSIDE[how]!r}, shell=True, check=True)
socket.setdefaulttimeout(1)
for host in ({SERVER!r}, {SERVER6!r}, "198.51.100.1"):
    for source in ("", "203.0.113.99", "198.51.100.77"):
        client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            if source and ":" not in host: client.bind((source, 0))
            client.connect((host, {ECHO_PORT}))
            print("reached", host)
        except OSError:
            pass
"""
    assert run(one, code, f"user,net,allow=other.example.test:{ECHO_PORT}") == ""


def test_raw_packets_reach_nothing(one: Visitor) -> None:
    """A SYN that bears any mark, and an answer that nobody waits for, let nobody in."""
    code = f"""
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
for flags in (2, 0x12, 0x10, 4):
    header = (5000).to_bytes(2, "big") + ({ECHO_PORT}).to_bytes(2, "big") + bytes(8)
    raw.sendto(header + bytes([0x50, flags]) + bytes(6), ({SERVER!r}, 0))
icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
icmp.sendto(b"\\3\\1" + bytes(30), ({SERVER!r}, 0))
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
ethernet = b"\\2unsh\\2\\2unsh\\1\\x08\\0"
for frame in (bytes(14), os.urandom(60), ethernet + b"\\x45" + os.urandom(40)):
    link.sendto(frame, ("gate0", 0))
print(try_tcp({SERVER!r}, {ECHO_PORT}), try_tcp({NAME!r}, {ECHO_PORT}))
"""
    assert run(one, code, f"user,net,allow={SERVER}:{ECHO_PORT}") == "b'hello' ECONNREFUSED\n"


def test_the_helper_is_out_of_reach(one: Visitor, site: Site) -> None:
    """Nothing of it can be opened by the program, whose uid is the same."""
    code = """
print("ready", flush=True)
pid = sys.stdin.readline().strip()
for path in ("mem", "ns/net", "fd/0", "environ"):
    try:
        os.open(f"/proc/{pid}/{path}", os.O_RDONLY)
        print("opened", path)
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
    with one.popen(CODE + code, "user=current,net=gate") as child:
        assert child.stdin and child.stdout
        said(child, "ready\n")
        child.stdin.write(f"{helpers(site)[-1]}\n")
        child.stdin.close()
        assert set(child.stdout.read().split()) == {"EACCES"}


def test_joining_a_gate(one: Visitor) -> None:
    """Who joins its network is behind it as well, and one can be had in a user namespace joined."""
    with one.hold(f"user,net=gate,allow={NAME}:{ECHO_PORT}") as holder:
        code = f"print(try_tcp({NAME!r}, {ECHO_PORT}), try_tcp({NAME!r}, {OTHER}))"
        joins = [f"{kind}=/proc/{holder.pid}/ns/{kind}" for kind in ("user", "net")]
        assert run(one, code, ",".join(joins)) == "b'hello' ECONNREFUSED\n"
        assert (
            run(one, code, f"{joins[0]},net,allow={NAME}:{OTHER}") == "ECONNREFUSED ECONNREFUSED\n"
        )


def test_a_gate_within_a_gate(one: Visitor) -> None:
    """It lets pass at most what the outer one does."""
    inner = f"print(try_tcp({NAME!r}, {ECHO_PORT}), try_tcp({SERVER6!r}, {ECHO_PORT}))"
    code = f"""
import subprocess
unshare = "user,net,allow={NAME}:{ECHO_PORT},allow=[{SERVER6}]:{ECHO_PORT}"
env = {{**os.environ, "PY_UNSHARE": unshare}}
done = subprocess.run([sys.executable, "-c", {CODE + inner!r}], env=env)
print(done.returncode)
"""
    printed = run(one, code, f"user,net,allow={NAME}:{ECHO_PORT}")
    assert printed == "b'hello' ECONNREFUSED\n0\n"


def test_more_connections_than_descriptors(one: Visitor) -> None:
    """What is too much is refused, and what follows passes again."""
    require_tool("prlimit")
    code = f"""
def many():
    kept = []
    for _ in range(80):
        try:
            kept.append(socket.create_connection(({SERVER!r}, {ECHO_PORT}), 20))
        except OSError as error:
            return errno.errorcode[error.errno]
    time.sleep(1)
    return "all"
for _ in range(4):
    if not os.fork():
        os.write(1, many().encode() + b"\\n")
        os._exit(0)
for _ in range(4): os.wait()
while (last := try_tcp({SERVER!r}, {ECHO_PORT})) == "ECONNREFUSED": time.sleep(0.1)
print(last)
"""
    limit = ["prlimit", "--nofile=300:300"]
    printed = run(one, code, f"user,net,allow={SERVER}:{ECHO_PORT}", prefix=limit).split()
    assert printed[-1] == "b'hello'" and "ECONNREFUSED" in printed[:-1]


def test_no_descriptors_are_left_to_the_program(one: Visitor) -> None:
    code = """
import _ctypes  # from Python 3.14 on, libffi keeps a descriptor of its own open
print(len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task')))
"""
    bare = one.run(f"{CODE}{code}").ok()
    assert run(one, code, "user,net,record,allow=x.test:1-100") == bare


@pytest.mark.parametrize(
    ("unshare", "says"),
    [
        ("user,net", True),
        ("user,net,allow=localhost:5678", False),
        ("user,net,allow=localhost:80", True),
        ("user,uts", False),
    ],
)
def test_a_debugger_that_connects_is_told_why_it_fails(
    newest: Python, workdir: Path, session: Session, unshare: str, says: bool
) -> None:
    (workdir / "debugpy.py").write_text("print('user code')")
    session.give(workdir)
    command = ["-m", "debugpy", "--connect", "127.0.0.1:5678", "app.py"]
    done = newest.run(command, unshare=unshare, cwd=workdir)
    assert done.ok() == "user code\n"
    assert ("add allow=localhost:5678" in done.stderr) == says
    assert says or done.stderr == ""


# The command.


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["user,net", "--", "sh", "-c", "exit 7"], 7),
        (["user,net", "sh", "-c", "exit 7"], 7),
        (["off", "--", "true"], 0),
        (["user,pid", "--", "sh", "-c", "test $$ = 2"], 0),
        (["user,net", "--", "/nowhere"], 127),
        (["user,net", "--", "/etc/passwd"], 126),
        (["net", "--", "true"], 125),
        (["usr", "--", "true"], 125),
        (["user,net", "--"], 2),
    ],
)
def test_run(newest: Python, arguments: Sequence[str], status: int) -> None:
    done = newest.run(["-m", "unshare_boot", "run", *arguments])
    assert done.status == status, done
    assert bool(done.stderr) == (status in (125, 126, 127, 2)), done


def test_run_git(one: Visitor, workdir: Path) -> None:
    """Any program: here one that knows nothing of Python."""
    require_tool("git")
    argv = ["-m", "unshare_boot", "run", f"offline,record={workdir}/r,allow=x.test:1"]
    visitor: Finished = one.run([*argv, "--", "git", "ls-remote", "https://forge.example.test/x"])
    assert visitor.status == 128
    tried = {(each["name"], each["port"], each["command"]) for each in lines(workdir / "r")}
    assert ("forge.example.test", 443, "git-remote-http") in tried


def test_a_pipe_that_is_closed(newest: Python) -> None:
    """SIGPIPE ends the command, as in any shell."""
    script = "exec 2>&1; $0 -m unshare_boot run user -- yes | head -n 1; echo ${PIPESTATUS[0]}"
    done = newest.user.run(["bash", "-c", script, str(newest.executable)])
    assert done.ok() == "y\n141\n"
