"""The record of a gate: where it goes, what it says, and who may not stop or forge it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from harness import Python, Session, require_root, require_tool
from harness.gate import CODE, run
from harness.internet import SERVER, Site
from harness.visitor import Visitor, said

PORT = 7099  # that nobody listens at


@pytest.fixture
def one(newest: Python, site: Site) -> Visitor:
    return Visitor(newest, site)


@pytest.fixture
def place(workdir: Path, session: Session) -> Path:
    (workdir / "directory").mkdir()
    (workdir / "closed").mkdir(mode=0o555)
    os.mkfifo(workdir / "fifo")
    (workdir / "mine").touch(mode=0o444)
    session.give(workdir)
    return workdir


# Where it goes.

ANOTHER = "name a file in a directory that this user may write, such as record=/tmp/attempts.jsonl"


@pytest.mark.parametrize(
    ("file", "why", "cure"),
    [
        ("fifo", "fifo is a FIFO or a device that nobody reads", "start what reads it first"),
        (
            "directory",
            "directory is a directory",
            "name a file in it: record=directory/attempts.jsonl",
        ),
        ("no/record", "there is no directory {place}/no", "mkdir -p {place}/no"),
        ("closed/record", "this user may not write {place}/closed", ANOTHER),
        ("closed/no/record", "there is no directory {place}/closed/no", ANOTHER),
        ("mine", "this user may not write mine", ANOTHER),
    ],
)
def test_a_file_that_cannot_be_written(
    newest: Python, place: Path, file: str, why: str, cure: str
) -> None:
    done = newest.run("print('user code')", unshare=f"offline,record={file}", cwd=place)
    assert (done.status, done.stdout) == (125, "")
    assert f"what: record='{file}': open({file})" in done.stderr
    assert f"why:  {why.format(place=place)}" in done.stderr
    assert f"cure: {cure.format(place=place)}" in done.stderr
    checked = newest.run(["-m", "unshare_boot", "check", f"offline,record={file}"], cwd=place)
    assert why.format(place=place) in " ".join(checked.stdout.split())  # lines are folded


def test_the_cures(newest: Python, place: Path) -> None:
    """Each applied as it is printed."""
    for listing in ("record=directory/attempts.jsonl", "record=no/record"):
        subprocess.run(["mkdir", "-p", place / "no"], check=True)
        os.chown(place / "no", newest.user.uid, newest.user.gid)
        assert newest.run("print(1)", unshare=f"offline,{listing}", cwd=place).ok() == "1\n"
        assert (place / listing.partition("=")[2]).exists()
    with subprocess.Popen(["cat", place / "fifo"], stdout=subprocess.PIPE, text=True) as reader:
        code = f"{CODE}\ntry_tcp('192.0.2.1', {PORT})"
        newest.run(code, unshare="offline,record=fifo", cwd=place).ok()
        assert reader.stdout and f'"port": {PORT}' in reader.stdout.read()


def test_only_a_start_makes_the_file(newest: Python, place: Path) -> None:
    """Neither a rehearsal nor what is refused; and so with the changes of an overlay."""
    before = sorted(place.iterdir())
    check = ["-m", "unshare_boot", "check"]
    newest.run([*check, "offline,record=new"], cwd=place).ok()
    assert newest.run([*check, "net,record=new"], cwd=place).status == 1
    assert newest.run("", unshare="net,record=new", cwd=place).status == 125
    newest.run("", unshare="net,record=new|sockets=unix", cwd=place).ok()
    assert sorted(place.iterdir()) == before
    newest.run([*check, "user,overlay=directory:new"], cwd=place).ok()
    assert sorted(place.iterdir()) == before
    newest.run("", unshare="offline,record=new", cwd=place).ok()
    assert (place / "new").read_text() == ""


def test_one_who_does_not_read_stops_nothing(one: Visitor) -> None:
    """What there is no room for is counted, and told once there is."""
    code = f"""
print(*{{try_tcp({SERVER!r}, 1000 + each) for each in range(1500)}}, flush=True)
sys.stdin.readline()
try_tcp({SERVER!r}, {PORT})
print("told", flush=True)
"""
    with one.popen(CODE + code, "user,net,record") as child:
        assert child.stdin and child.stderr
        said(child, "ECONNREFUSED\n")
        # Room for as much again; and nothing more is written until the next attempt.
        first = os.read(child.stderr.fileno(), 1 << 20)
        child.stdin.write("\n")
        child.stdin.close()
        said(child, "told\n")
        rest = child.stderr.read()
    lines = (first.decode() + rest).splitlines()
    told = [line for line in lines if line.startswith("unshare-boot: tried")]
    (missing,) = [line.split()[1] for line in lines if line.endswith("could not be told")]
    assert len(told) + int(missing) == 1501


def test_a_full_disk(one: Visitor, session: Session) -> None:
    """The record says how many are missing, and nothing of it is glued together."""
    require_root()
    place = session.make_workdir()
    disk = ("mount", "-t", "tmpfs", "-o", "size=32k,mode=777", "none", place)
    subprocess.run(one.site.enter(*disk), check=True)
    try:
        code = f"""
other = {str(place / "other")!r}
with open(other, "wb") as file:
    file.write(bytes(16384))
for each in range(200):
    try_tcp({SERVER!r}, 1000 + each)
os.remove(other)
try_tcp({SERVER!r}, {PORT})
"""
        run(one, code, f"user=current,net,record={place}/record")
        text = Path(f"/proc/{one.site.holder}/root{place}/record").read_text()
    finally:
        subprocess.run(one.site.enter("umount", "-l", place), check=True)
    lines = text.splitlines()
    assert sum(not line.endswith("}") for line in lines) <= 1  # the one that did not fit
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    lost = [each["lost"] for each in entries if "lost" in each]
    assert len(lost) == 1 and 0 < lost[0] < 200
    assert entries[-1]["port"] == PORT


def test_root_inside_does_not_forge_who_it_was(one: Visitor) -> None:
    """By messages to the socket that the helper asks the kernel with, netlink(7)."""
    code = f"""
import struct
forger = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
forged = struct.pack("=IHHII", 88, 20, 0, 0, 0) + bytes(72)
sent = 0
try_tcp({SERVER!r}, {PORT})
for line in open("/proc/net/netlink").read().splitlines()[1:]:
    _, protocol, port, *_ = line.split()
    if protocol == "4" and int(port) not in (0, forger.getsockname()[0]):
        for _ in range(3):
            sent += forger.sendto(forged, (int(port), 0))
print(sent > 0)
for _ in range(2):
    try_tcp({SERVER!r}, {PORT})
print({{pid for pid, port in told("inner_pid", "port") if port == {PORT}}} == {{os.getpid()}})
"""
    assert run(one, code, "user,net,pid,record=/dev/null") == "True\nTrue\n"


# What it asks for.


def entry(name: str | None, port: int, **more: object) -> str:
    found: dict[str, object] = {
        "protocol": "tcp",
        "name": name,
        "address": "192.0.2.1",
        "port": port,
    }
    found.update(verdict="refused", reason="not in allow", pid=1, **more)
    return json.dumps(found)


def test_a_name_that_changes(newest: Python, workdir: Path, session: Session) -> None:
    """By prctl(2), and by execve(2): what is told is the name at that moment."""
    session.give(workdir)
    again = f"{CODE}\ntry_tcp('192.0.2.3', {PORT})"
    code = f"""
try_tcp('192.0.2.1', {PORT})
open("/proc/self/comm", "w").write("another")
try_tcp('192.0.2.2', {PORT})
os.execv(sys.executable, [sys.executable, "-c", {again!r}])
"""
    newest.run(CODE + "\nimport os" + code, unshare="offline,record=r", cwd=workdir).ok()
    entries = list(map(json.loads, (workdir / "r").read_text().splitlines()))
    assert len({each["pid"] for each in entries}) == 1
    first, second, third = (each["command"] for each in entries)
    assert (first, second) == (third, "another")


def test_what_a_record_asks_for(newest: Python, workdir: Path, session: Session) -> None:
    lines = [
        *(entry("b.test", 80), entry("a.test", 443), entry("a.test", 443), entry(None, 22)),
        entry("d.test", 53, protocol="udp"),
        *(entry("192.0.2.7", 80), entry("123.456", 80), entry("a\\034b.test", 80)),
        *('{"time": "", "lost": 3}', "[1]", "null", "", entry("e.test", 80)[:40]),
    ]
    (workdir / "record").write_text("\n".join(lines))
    session.give(workdir)
    done = newest.run(["-m", "unshare_boot", "allow", "record"], cwd=workdir)
    items = ["a.test:443", "b.test:80", "192.0.2.1:22", "d.test:53/udp"]
    assert done.status == 0 and done.stdout.split() == [f"allow={each}" for each in items]
    for word in ("'192.0.2.7'", "'123.456'", "record:10 is", "record:11 is", "record:13 is"):
        assert word in done.stderr
    for item in items:
        newest.run(["-m", "unshare_boot", "check", f"offline,allow={item}"]).ok()


def test_what_is_no_record(newest: Python, workdir: Path, session: Session) -> None:
    (workdir / "text").write_text("no record\n")
    session.give(workdir)
    done = newest.run(["-m", "unshare_boot", "allow", "text"], cwd=workdir)
    assert done.status == 2 and "text is no record" in done.stderr


# What the list may say.


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("allow=x.test:80/UDP", "behind the port comes /udp or nothing, and not '/UDP'"),
        ("allow=x.test:80/", "behind the port comes /udp or nothing"),
        ("allow=https://pypi.org/simple", "no URL: allow=pypi.org:443"),
        ("allow=x.test:https", "that of https is 443"),
        ("allow=x.test:80,y.test:80", "'y.test:80': no such item (is it one more host? write"),
        ("allow=127.0.0.2:80", "localhost, 127.0.0.1 and [::1] alone"),
        ("allow=127.0.0.0/8:80", "localhost, 127.0.0.1 and [::1] alone"),
        ("allow=*.localhost:80", "localhost, 127.0.0.1 and [::1] alone"),
        ("sockets=unix,record", "record: contradicts sockets=unix"),
        ("allow=x.test:80,sockets=unix", "allow: contradicts sockets=unix"),
    ],
)
def test_what_is_not_understood(newest: Python, item: str, said: str) -> None:
    for listing in (f"user,net,{item}", f"net,{item}", item):
        done = newest.run("", unshare=listing)
        assert done.status == 125
        assert said in done.stderr, done.stderr


def test_as_many_ports_as_there_may_be(one: Visitor) -> None:
    """Each takes a socket, of the host's loopback two; the program's own limit stays what it is."""
    require_tool("prlimit")
    code = """
import resource
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    limit = ["prlimit", "--nofile=512:4096"]
    for host in ("localhost", SERVER):
        printed = run(one, code, f"user,net,allow={host}:2000-3023", prefix=limit)
        assert printed == "(512, 4096)\n"
