"""net=pasta and net=slirp4netns, with the real programs, in an internet made of namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import Finished, Python, Session, members, namespace_inode, require_tool
from harness.client import CLIENT
from harness.internet import (
    ECHO_PORT,
    NAME,
    ROUTER,
    ROUTER6,
    SERVER,
    SERVER6,
    SITE,
    STUB,
    Site,
)
from harness.outer import open_files
from harness.visitor import Visitor, said

DRIVERS = ("pasta", "slirp4netns")


def in_network_of(pid: int) -> set[int]:
    """The processes in the same network namespace as another, which is one of them."""
    return members(namespace_inode(pid, "net"), "net")


def wait_for(pid: int) -> None:
    """Wait until somebody else's process has ended."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        assert select.select([descriptor], [], [], 30)[0]
        os.close(descriptor)


@pytest.fixture(autouse=True)
def nothing_is_left(site: Site) -> Iterator[None]:
    yield
    left = site.wait_until_left()
    described = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
    assert not left, described


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    require_tool(request.param)
    return str(request.param)


@pytest.fixture
def every(python: Python, site: Site) -> Visitor:
    """Each interpreter, one after the other."""
    return Visitor(python, site)


@pytest.fixture
def visitor(newest: Python, site: Site) -> Visitor:
    return Visitor(newest, site)


@pytest.fixture(params=["oldest", "newest"])
def either(request: pytest.FixtureRequest, site: Site) -> Visitor:
    return Visitor(request.getfixturevalue(request.param), site)


def test_the_program_reaches_the_internet(every: Visitor, driver: str) -> None:
    code = f"""{CLIENT}
print(exchange("{SERVER}", {ECHO_PORT}))
datagrams("{SERVER}", {ECHO_PORT})
print(socket.getaddrinfo("{NAME}", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
print(os.listdir("/sys/class/net") != [], os.environ["PY_UNSHARE_ACTIVE"].split("=")[0])
"""
    done = every.run(code, f"user,net={driver}")
    assert done.ok().splitlines() == [SITE, SERVER, "True user"]
    assert done.stderr == ""


def test_there_is_no_other_way_out(visitor: Visitor, driver: str) -> None:
    code = f"""{CLIENT}
print(reaches("{SERVER}", {ECHO_PORT}), flush=True)
sys.stdin.readline()
print(reaches("{SERVER}", {ECHO_PORT}, 1))
"""
    assert visitor.run(code, "user,net", stdin="\n").ok() == "False\nFalse\n"
    with visitor.popen(code, f"user,net={driver}") as child:
        assert child.stdin and child.stdout
        said(child, "True\n")
        os.kill(helpers(visitor.site)["driver"], signal.SIGKILL)
        visitor.site.wait_until_left()
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "False\n"


def test_ipv6_works_at_once(either: Visitor) -> None:
    require_tool("pasta")
    code = f'{CLIENT}print(exchange("{SERVER6}", {ECHO_PORT}))'
    assert either.run(code, "user,net=pasta").ok() == "2001:db8::2\n"


@pytest.mark.parametrize(
    "more", ["user=current", "user=current,pid,caps=none", "user,mount,pid,uts,ipc", "user,sys"]
)
def test_it_goes_with_other_items(either: Visitor, driver: str, more: str) -> None:
    code = f'{CLIENT}print(exchange("{SERVER}", {ECHO_PORT}))'
    assert either.run(code, f"{more},net={driver}").ok() == f"{SITE}\n"


@pytest.mark.parametrize("more", ["", "user,", "user,pid,"])
def test_it_goes_for_root(visitor: Visitor, driver: str, more: str) -> None:
    code = f'{CLIENT}print(exchange("{SERVER}", {ECHO_PORT}))'
    assert visitor.run(code, f"{more}net={driver}", as_root=True).ok() == f"{SITE}\n"


def test_it_goes_after_a_start_over(fresh_python: Python, site: Site, driver: str) -> None:
    (fresh_python.site_packages / "aaa.pth").write_text(
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    code = f'{CLIENT}print(exchange("{SERVER}", {ECHO_PORT}))'
    assert Visitor(fresh_python, site).run(code, f"user,net={driver}").ok() == f"{SITE}\n"


def test_it_goes_from_a_programs_first_line(visitor: Visitor, driver: str) -> None:
    code = f"""{CLIENT}
import unshare_boot
unshare_boot.unshare("user,net={driver}")
print(exchange("{SERVER}", {ECHO_PORT}))
"""
    assert visitor.run(code).ok() == f"{SITE}\n"


def test_the_loopback_of_the_host_is_out_of_reach(visitor: Visitor, driver: str) -> None:
    there = [
        f"{kind}:{address}:7100" for kind in ("tcp", "udp") for address in ("127.0.0.1", "::1")
    ]
    code = f"""{CLIENT}
for address in sys.argv[1:]:
    print(address, reaches(address, 7100))
"""
    with visitor.site.listen(*there):
        assert visitor.run(["-c", code, "127.0.0.1", "::1"]).ok() == "127.0.0.1 True\n::1 True\n"
        addresses = {
            "pasta": [SITE, ROUTER, ROUTER6, "169.254.1.1"],
            "slirp4netns": ["10.0.2.2", "10.0.2.3", "10.0.2.100"],
        }[driver]
        addresses += ["127.0.0.1", "::1"]
        done = visitor.run(["-c", code, *addresses], f"user,net={driver}")
    assert done.ok() == "".join(f"{address} False\n" for address in addresses)


OPENED = {  # what PY_UNSHARE_NET_OPTS may say
    "pasta": ["-T 7100", "-T7100", "--tcp-ns 7100", "--tcp-ns=7100"],
    "slirp4netns": ["--disable-host-loopback=false"],
}


def test_an_option_opens_the_loopback_of_the_host(visitor: Visitor, driver: str) -> None:
    address = {"pasta": "127.0.0.1", "slirp4netns": "10.0.2.2"}[driver]
    code = f"{CLIENT}print(reaches({address!r}, 7100))"
    with visitor.site.listen("tcp:127.0.0.1:7100"):
        for options in OPENED[driver]:
            env = {"PY_UNSHARE_NET_OPTS": options}
            assert visitor.run(code, f"user,net={driver}", env=env).ok() == "True\n"
            assert visitor.run(code, f"user,net={driver}").ok() == "False\n"


def test_published_ports_lead_inside(either: Visitor, driver: str) -> None:
    items = "publish=7201:80,publish=7202:81/udp"
    items += ",publish=0.0.0.0:7203:80,publish=0.0.0.0:7204:81/udp"
    client = f"""{CLIENT}
exchange("127.0.0.1", 7201)
datagrams("127.0.0.1", 7202)
print(reaches("127.0.0.1", 80))
"""
    from_afar = f"""{CLIENT}
exchange("{SITE}", 7203)
datagrams("{SITE}", 7204, 10)
print(reaches("{SITE}", 7201, 1), reaches("{SITE}", 7202, 1))
"""
    inside = ("tcp:0.0.0.0:80", "udp:0.0.0.0:81")
    with either.serve(f"user,net={driver},{items}", *inside):
        assert either.run(client).ok() == "False\n"
        far = Visitor(either.python, replace(either.site, holder=either.site.far))
        assert far.run(from_afar).ok() == "False False\n"


def test_published_ports_with_ipv6(visitor: Visitor) -> None:
    require_tool("pasta")
    items = "publish=[::1]:7201:80,publish=[::1]:7202:81/udp"
    client = f'{CLIENT}exchange("::1", 7201); datagrams("::1", 7202)'
    with visitor.serve(f"user,net=pasta,{items}", "tcp::::80", "udp::::81"):
        assert visitor.run(client).ok() == ""


def test_slirp4netns_does_not_publish_tcp_with_ipv6(visitor: Visitor) -> None:
    require_tool("slirp4netns")
    refused(visitor.run("", "user,net=slirp4netns,publish=[::1]:7201:80"), "[::1]:7201", "pasta")


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_in_use_is_refused(visitor: Visitor, driver: str, kind: str) -> None:
    items = f"publish=7300:80/{kind},publish=7301:80/{kind}"
    with visitor.site.listen(f"{kind}:127.0.0.1:7301"):
        done = visitor.run("print('user code')", f"user,net={driver},{items}")
    refused(done, "127.0.0.1:7301", "already in use")
    assert "7300" not in done.stderr.split("what:")[1]


def test_a_port_that_came_free_since_pasta_wanted_it_is_named(
    visitor: Visitor, session: Session, workdir: Path
) -> None:
    said = "Failed to bind any port for '-t 127.0.0.1/7301:80', exiting"
    (workdir / "pasta").write_text(f'#!/bin/sh\necho "{said}" >&2; exit 1\n')
    (workdir / "pasta").chmod(0o755)
    session.give(workdir)
    items = "publish=7300:80,publish=7301:80,publish=17301:80"
    env = {"PATH": f"{workdir}:{os.environ['PATH']}"}
    done = visitor.run("print('user code')", f"user,net=pasta,{items}", env=env)
    refused(done, "publish='127.0.0.1:7301:80/tcp'", said, "it is free now, so start again")


def test_an_address_of_somebody_else_is_refused(visitor: Visitor, driver: str) -> None:
    done = visitor.run("print('user code')", f"user,net={driver},publish=192.0.2.7:7300:80")
    refused(done, "192.0.2.7:7300", "Cannot assign requested address")


def test_ports_come_free_in_time_for_the_start_after_a_rehearsal(
    visitor: Visitor, driver: str
) -> None:
    env = {"PY_UNSHARE_ON_ERROR": "warn"}
    unshare = f"user,net={driver},publish=7400:80,publish=7400:80/udp"
    code = "import os; print(os.environ['PY_UNSHARE_ACTIVE'].split('=')[0])"
    for _ in range(5):
        done = visitor.run(code, unshare, env=env)
        assert (done.ok(), done.stderr) == ("user\n", "")
        assert visitor.site.wait_until_left() == []


def test_a_missing_program_is_refused(visitor: Visitor, driver: str) -> None:
    package = {"pasta": "passt", "slirp4netns": "slirp4netns"}[driver]
    done = visitor.run("print('user code')", f"user,net={driver}", prefix=["env", "PATH=/nowhere"])
    refused(done, f"net={driver}", "PATH", package)


def test_options_are_handed_on(visitor: Visitor, driver: str) -> None:
    options, name, value = {
        "pasta": ("--ns-ifname 'out going'", "ifname", "out going"),
        "slirp4netns": ("--cidr=10.9.8.0/24", "address", "10.9.8.100"),
    }[driver]
    if driver == "pasta":
        options, value = "--ns-ifname 'outgoing'", "outgoing"
    code = """import json, subprocess
print(json.dumps(json.loads(subprocess.check_output(["ip", "-j", "address"]))))"""
    done = visitor.run(code, f"user,net={driver}", env={"PY_UNSHARE_NET_OPTS": options})
    (interface,) = (each for each in json.loads(done.ok()) if each["ifname"] != "lo")
    found = {"ifname": interface["ifname"], "address": interface["addr_info"][0]["local"]}
    assert found[name] == value


def test_what_the_program_says_ends_up_in_the_refusal(visitor: Visitor, driver: str) -> None:
    env = {"PY_UNSHARE_NET_OPTS": "--no-such-option"}
    done = visitor.run("print('user code')", f"user,net={driver}", env=env)
    refused(done, f"net={driver}", "no-such-option")


BROKEN = {
    "says why": "#!/bin/sh\necho 'no luck today' >&2; exit 1\n",
    "says nothing": "#!/bin/sh\nexit 1\n",
    "is killed": "#!/bin/sh\necho 'no luck today' >&2; kill -KILL $$\n",
    "has a child that fails": "#!/bin/sh\n(exit 3); echo status $? >&2; exit 1\n",
    "is no program": "#!/no/such/interpreter\n",
}
SAID = {
    "a wrong option": "no-such-option",
    "says nothing": "it said nothing",
    "has a child that fails": "status 3",
    "is no program": "No such file or directory",
}


@pytest.mark.parametrize("items", ["user", "user,pid", "user,publish=7300:80/udp", "mount"])
@pytest.mark.parametrize("how", ["a wrong option", *BROKEN])
def test_the_reason_is_the_same_where_sigchld_is_ignored(
    either: Visitor, driver: str, how: str, items: str, workdir: Path
) -> None:
    """As it may have been inherited: then the kernel reaps, and waitpid(2) finds no child."""
    env = {"PY_UNSHARE_NET_OPTS": "--no-such-option"}
    if how in BROKEN:
        (workdir / driver).write_text(BROKEN[how])
        (workdir / driver).chmod(0o755)
        env = {"PATH": f"{workdir}:{os.environ['PATH']}"}
    unshare, as_root = f"{items},net={driver}", not items.startswith("user")
    plain, ignored = (
        either.run("print('user code')", unshare, env=env, prefix=prefix, as_root=as_root)
        for prefix in ([], ["env", "--ignore-signal=CHLD"])
    )
    refused(plain, f"net={driver!r}: ")
    assert ignored == plain
    assert SAID.get(how, "no luck today") in ignored.stderr


def test_it_goes_where_sigchld_is_ignored(either: Visitor, driver: str) -> None:
    code = f"""{CLIENT}
import signal
print(exchange("{SERVER}", {ECHO_PORT}), signal.getsignal(signal.SIGCHLD).name)
"""
    unshare = f"user,net={driver},publish=7300:80,publish=7301:80/udp"
    done = either.run(code, unshare, prefix=["env", "--ignore-signal=CHLD"])
    assert done.ok() == f"{SITE} SIG_IGN\n"


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_in_use_is_refused_where_sigchld_is_ignored(
    either: Visitor, driver: str, kind: str
) -> None:
    unshare = f"user,net={driver},publish=7301:80/{kind}"
    with either.site.listen(f"{kind}:127.0.0.1:7301"):
        done = either.run("", unshare, prefix=["env", "--ignore-signal=CHLD"])
    refused(done, "127.0.0.1:7301", "already in use")


def test_options_that_cannot_be_split_are_refused(visitor: Visitor, driver: str) -> None:
    done = visitor.run("", f"user,net={driver}", env={"PY_UNSHARE_NET_OPTS": "'"})
    refused(done, "PY_UNSHARE_NET_OPTS", "quotation")


def test_the_command_is_shown(visitor: Visitor, driver: str) -> None:
    env = {"PY_UNSHARE_VERBOSE": "1", "PY_UNSHARE_NET_OPTS": "--mtu=9000"}
    done = visitor.run("import os; print(os.getpid())", f"user,net={driver}", env=env)
    pid = done.ok().strip()
    (line,) = (line for line in done.stderr.splitlines() if f"/{driver} " in line)
    assert "--mtu=9000" in line and pid in line.split()


def test_a_published_port_survives_a_silent_inside(visitor: Visitor, driver: str) -> None:
    """Nobody listens inside at first, and more clients come than the relay remembers."""
    code = """import socket, sys
print("ready", flush=True)
sys.stdin.readline()
server = socket.socket(type=socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 81))
print("listening", flush=True)
while True:
    data, client = server.recvfrom(65536)
    server.sendto(data, client)
"""
    client = f"""{CLIENT}
for number in range(600):
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.sendto(b"x", ("127.0.0.1", 7202))
print("sent", flush=True)
sys.stdin.readline()
for number in range(300):
    for again in range(30):  # the flood may still be on its way, and have filled the buffers
        try:
            datagrams("127.0.0.1", 7202, 1, 1)
            break
        except OSError:
            pass
    else:
        raise SystemExit("no answer")
one = socket.socket(type=socket.SOCK_DGRAM)
one.settimeout(30)
one.sendto(bytes(60000), ("127.0.0.1", 7202))
print(len(one.recv(65536)))
"""
    with visitor.popen(code, f"user,net={driver},publish=7202:81/udp") as child:
        said(child, "ready\n")
        with visitor.popen(client) as sender:
            said(sender, "sent\n")
            assert child.stdin and sender.stdin and sender.stdout
            child.stdin.write("\n")
            child.stdin.flush()
            said(child, "listening\n")
            sender.stdin.write("\n")
            sender.stdin.flush()
            assert sender.stdout.readline() == "60000\n", sender.stderr and sender.stderr.read()


@pytest.mark.parametrize("as_root", [False, True])
@pytest.mark.parametrize("user", ["user", "user=current"])
def test_none_of_the_helpers_can_be_taken_over_from_inside(
    visitor: Visitor, driver: str, user: str, as_root: bool
) -> None:
    """They have the network outside; the relay and pasta are in the program's user namespace."""
    code = """import ctypes, os, sys
print("ready", flush=True)
for pid in map(int, sys.stdin.readline().split()):
    with open(f"/proc/{pid}/comm") as file:
        name = file.read().strip()
    seized = ctypes.CDLL(None).ptrace(0x4206, pid, None, None) == 0  # PTRACE_SEIZE
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
        opened = True
    except PermissionError:
        opened = False
    print(name, seized, opened, os.access(f"/proc/{pid}/root/", os.X_OK))
"""
    unshare = f"{user},net={driver},publish=7202:81/udp"
    with visitor.popen(code, unshare, as_root=as_root) as child:
        assert child.stdin and child.stdout
        said(child, "ready\n")
        helpers = {*visitor.site.others(), *in_network_of(child.pid)} - {child.pid}
        child.stdin.write(" ".join(map(str, helpers)) + "\n")
        child.stdin.flush()
        lines = [line.split() for line in child.stdout]
    names = {name for name, *_ in lines}
    assert {"unshare-net", "unshare-udp"} < names and len(lines) == len(helpers)
    assert {tuple(outcome) for _, *outcome in lines} == {("False", "False", "False")}, lines


@pytest.mark.parametrize("victim", ["unshare-udp", "unshare-net"])
def test_nothing_is_left_of_the_relay(visitor: Visitor, driver: str, victim: str) -> None:
    with visitor.hold(f"user,net={driver},publish=7202:81/udp") as child:
        (relay,) = (
            pid
            for pid in in_network_of(child.pid)
            if Path(f"/proc/{pid}/comm").read_text() == "unshare-udp\n"
        )
        killed = relay if victim == "unshare-udp" else helpers(visitor.site)["watcher"]
        os.kill(killed, signal.SIGKILL)
        wait_for(relay)
        assert visitor.site.wait_until_left() == []
    with visitor.hold(f"user,net={driver},publish=7202:81/udp") as child:
        (relay,) = (pid for pid in in_network_of(child.pid) if pid != child.pid)
        child.kill()
        wait_for(relay)


def test_a_refusal_of_a_later_item_leaves_nothing(visitor: Visitor, driver: str) -> None:
    done = visitor.run("print('user code')", f"user,net={driver},tmpfs=/no/such/directory")
    refused(done, "/no/such/directory")
    assert visitor.site.wait_until_left() == []


# Names.


@pytest.fixture
def stub(site: Site) -> Iterator[str]:
    """A site whose resolver listens on its loopback; what its resolv.conf says."""
    before = site.resolv_conf.read_text()
    text = f"# managed\nnameserver {STUB}\noptions edns0\nsearch example.test\n"
    site.resolv_conf.write_text(text)
    with site.listen(f"dns:{STUB}:53"):
        yield text
    site.resolv_conf.write_text(before)


LOOK_UP = f"""import socket
print(socket.getaddrinfo("{NAME}", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
print(socket.getaddrinfo("server", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
print(open("/etc/resolv.conf").read())
"""


@pytest.mark.parametrize("more", ["mount", "mount=slave,pid", "mount,tmpfs=/mnt"])
def test_a_resolver_on_the_hosts_loopback(
    either: Visitor, driver: str, stub: str, more: str
) -> None:
    lines = either.run(LOOK_UP, f"user,net={driver},{more}").ok().splitlines()
    assert lines[:2] == [SERVER, SERVER]
    forwarder = {"pasta": "169.254.1.1", "slirp4netns": "10.0.2.3"}[driver]
    assert sorted(line for line in lines[2:] if line) == sorted(
        stub.replace(STUB, forwarder).splitlines()
    )
    assert either.site.resolv_conf.read_text() == stub


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("more", ["", ",mount=unchanged", ",mount=shared"])
def test_a_resolver_on_the_hosts_loopback_needs_a_mount(
    visitor: Visitor, driver: str, more: str
) -> None:
    refused(visitor.run("print('user code')", f"user,net={driver}{more}"), STUB, "mount")


def test_a_symbolic_link_is_covered_itself(visitor: Visitor, driver: str, stub: str) -> None:
    """What it leads to is replaced now and then, which would take a mount there away."""
    script = """
mount -t tmpfs tmpfs /mnt
cp -a /etc /mnt/etc
mkdir /mnt/etc/managed
mv /mnt/etc/resolv.conf /mnt/etc/managed
ln -s managed/resolv.conf /mnt/etc/resolv.conf
mount --bind /mnt/etc /etc
exec "$@"
"""
    user = visitor.python.user
    code = LOOK_UP + "print(open('/etc/managed/resolv.conf').read())"
    command = visitor.site.enter_as(user.uid, user.gid, *visitor.python.command(code))
    who = command[command.index("setpriv") :]
    mounts = ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", script, "sh"]
    env = {"PY_UNSHARE": f"user,mount,net={driver}", "HOME": str(user.home)}
    argv = visitor.site.enter(*mounts, *who)
    text = visitor.python.root.run(argv, env=env, cwd=user.home).ok()
    assert text.startswith(f"{SERVER}\n{SERVER}\n") and text.endswith(f"{stub}\n")
    assert text.count(STUB) == 1


def test_forwarding_names_opens_nothing_else(visitor: Visitor, driver: str) -> None:
    before = visitor.site.resolv_conf.read_text()
    forwarder = {"pasta": "169.254.1.1", "slirp4netns": "10.0.2.3"}[driver]
    code = f"""{CLIENT}
print(socket.getaddrinfo("{NAME}", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
print(reaches("{forwarder}", 7100, 1), reaches("{ROUTER}", 7100, 1))
"""
    visitor.site.resolv_conf.write_text("nameserver 127.0.0.1\n")
    try:
        with visitor.site.listen("dns:127.0.0.1:53", "tcp:127.0.0.1:7100", "udp:127.0.0.1:7100"):
            done = visitor.run(code, f"user,mount,net={driver}")
    finally:
        visitor.site.resolv_conf.write_text(before)
    assert done.ok() == f"{SERVER}\nFalse False\n"


@pytest.mark.usefixtures("stub")
def test_a_resolver_for_root(visitor: Visitor, driver: str) -> None:
    lines = visitor.run(LOOK_UP, f"net={driver},mount", as_root=True).ok().splitlines()
    assert lines[:2] == [SERVER, SERVER]


# The end.


def helpers(site: Site) -> dict[str, int]:
    """The watcher and the driver of the one program that runs in the site."""
    found = {}
    for pid in site.others():
        with contextlib.suppress(FileNotFoundError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            found["watcher" if name == "unshare-net" else "driver"] = pid
    assert set(found) == {"watcher", "driver"}, found
    return found


def tap_of(pid: int) -> list[str]:
    """The interfaces of a process's network namespace but lo."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return [name for name in (line.split(":")[0].strip() for line in lines) if name != "lo"]


def test_the_program_sees_nothing_of_it(either: Visitor, driver: str) -> None:
    code = """import os
print(sorted(os.listdir("/proc/self/fd")))
print(open(f"/proc/self/task/{os.getpid()}/children").read())
print(sorted(name for name in os.environ if name != "PY_UNSHARE_ACTIVE"))
print(open("/proc/self/stat").read().split()[5:7])
"""
    plain, out = (either.run(code, f"user,net={net}").ok() for net in ("lo", driver))
    assert plain.splitlines()[:3] == out.splitlines()[:3]


@pytest.mark.parametrize("as_root", [False, True])
@pytest.mark.parametrize("victim", ["program", "watcher", "driver"])
def test_whoever_is_killed_nothing_is_left(
    visitor: Visitor, driver: str, victim: str, as_root: bool
) -> None:
    with visitor.hold(f"user,net={driver}", as_root=as_root) as child:
        pids = {**helpers(visitor.site), "program": child.pid}
        assert len(tap_of(child.pid)) == 1
        os.kill(pids[victim], signal.SIGKILL)
        for helper in ("watcher", "driver"):  # it closes its files later than it leaves /proc
            wait_for(pids[helper])
        assert visitor.site.wait_until_left() == []
        if victim != "program":
            assert tap_of(child.pid) == []


def test_a_watcher_that_is_killed_at_work_leaves_no_file(
    either: Visitor, driver: str, session: Session, workdir: Path
) -> None:
    """slirp4netns is told of ports by a socket, which has a directory until it knows them all."""
    runtime, seen, program = (workdir / name for name in ("runtime", "seen", driver))
    runtime.mkdir()
    program.write_text(f"#!/bin/sh\nls {runtime} >{seen}; kill -KILL $PPID; exec sleep 60\n")
    program.chmod(0o755)
    session.give(workdir)
    env = {"XDG_RUNTIME_DIR": str(runtime), "PATH": f"{workdir}:{os.environ['PATH']}"}
    done = either.run("print('user code')", f"user,net={driver},publish=7202:81", env=env)
    refused(done, "the process that starts it was killed")
    assert seen.read_text().startswith("unshare-net-" if driver == "slirp4netns" else "")
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("victim", ["supervisor", "init"])
def test_whoever_is_killed_nothing_is_left_of_a_pid_namespace(
    visitor: Visitor, driver: str, victim: str
) -> None:
    with visitor.hold(f"user,pid,net={driver}") as child:
        init, *_ = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        os.kill({"supervisor": child.pid, "init": int(init)}[victim], signal.SIGKILL)
        assert visitor.site.wait_until_left() == []


def test_it_stays_for_a_process_that_outlives_the_program(either: Visitor, driver: str) -> None:
    survivor = f"""{CLIENT}
print(os.getpid(), flush=True)
sys.stdin.readline()
print(exchange("{SERVER}", {ECHO_PORT}), flush=True)
sys.stdin.readline()
"""
    code = f"""import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", {survivor!r}])
print(os.getpid(), flush=True)
"""
    with either.popen(code, f"user,net={driver}") as child:
        assert child.stdin and child.stdout
        pids = [int(child.stdout.readline()) for _ in range(2)]
        assert child.wait() == 0
        assert child.pid in pids
        before = helpers(either.site)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == f"{SITE}\n"
        assert helpers(either.site) == before
        child.stdin.write("\n")
        child.stdin.flush()
        for pid in pids:
            wait_for(pid)
    assert either.site.wait_until_left() == []


def test_an_interrupt_is_the_programs_to_handle(visitor: Visitor, driver: str) -> None:
    code = f"""{CLIENT}
try:
    print("ready", flush=True)
    sys.stdin.read()
except KeyboardInterrupt:
    print(exchange("{SERVER}", {ECHO_PORT}))
"""
    with visitor.popen(code, f"user,net={driver}") as child:
        assert child.stdout
        said(child, "ready\n")
        os.killpg(child.pid, signal.SIGINT)
        assert child.stdout.read() == f"{SITE}\n"


def test_nobody_waits_for_the_helpers_to_close_the_output(visitor: Visitor, driver: str) -> None:
    with visitor.hold(f"user,net={driver}") as child:
        assert child.stdout
        kept = set().union(*map(open_files, helpers(visitor.site).values()))
        assert os.readlink(f"/proc/{child.pid}/fd/1") not in kept


def test_fifty_starts_leave_nothing(
    visitor: Visitor, driver: str, session: Session, workdir: Path
) -> None:
    command = f"""for number in $(seq 50); do
        export PY_UNSHARE=user,net={driver},publish=$((7200 + number)):81
        {visitor.python.executable} -c 'print("user code")' || exit
    done"""
    user = visitor.python.user
    argv = visitor.site.enter_as(user.uid, user.gid, "sh", "-c", command)
    session.give(workdir)
    env = {"HOME": str(user.home), "XDG_RUNTIME_DIR": str(workdir)}
    before = in_network_of(visitor.site.holder)
    done = visitor.python.root.run(argv, env=env, cwd=user.home, timeout=300)
    assert done.ok() == 50 * "user code\n"
    assert visitor.site.wait_until_left() == []
    assert in_network_of(visitor.site.holder) == before
    assert list(workdir.iterdir()) == []


def refused(done: Finished, *words: str) -> None:
    assert (done.status, done.stdout) == (125, ""), done
    for word in words:
        assert word in done.stderr, done.stderr
