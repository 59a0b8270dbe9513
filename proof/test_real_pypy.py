"""PyPy: every item of the language, signals, exit statuses, refusals and starting over."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from harness import Python, Session, namespace_inode, require_root, require_tool, until
from harness.client import CLIENT
from harness.internet import ECHO_PORT, NAME, SERVER, SITE, internet
from harness.interpreters import probe
from harness.machine import Machine
from harness.processes import Argument
from harness.session import Variant
from harness.visitor import Visitor
from proof.conftest import Tally, Watch
from proof.programs import DEADLINE, FILES, WHERE, kinds_of

# What a program sees of what each item does.
SEEN = f"""
import os, socket, sys, time
{WHERE}

def read(path):
    with open(path) as file:
        return file.read()

def connects(family, address):
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
            server.listen(1)
            with socket.socket(family) as client:
                client.connect(server.getsockname()[:2])
            return True
        except OSError:
            return False

lines = read("/proc/self/status").splitlines()
status = dict(line.split(":\\t") for line in lines if ":\\t" in line)
print((where(), {{
    "ids": (os.getuid(), os.getgid()),
    "uid_map": read("/proc/self/uid_map").split(),
    "setgroups": read("/proc/self/setgroups").strip(),
    "interfaces": read("/proc/net/dev").count(":"),
    "loopback": (connects(socket.AF_INET, "127.0.0.1"), connects(socket.AF_INET6, "::1")),
    "address": connects(socket.AF_INET, "10.1.2.3"),
    "hostname": socket.gethostname(),
    "shared": "shared:" in read("/proc/self/mountinfo"),
    "effective": int(status["CapEff"], 16),
    "ambient": int(status["CapAmb"], 16),
    "bounding": int(status["CapBnd"], 16),
    "new_privileges": status["NoNewPrivs"],
    "clock": time.monotonic(),
    "directory": sorted(os.listdir(".")),
    "writable": os.access("file", os.W_OK),
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
}}))
"""

# A list, and what has to hold in it: an expression over what was seen.
LISTS = {
    "user,net": "interfaces == 1 and loopback == (True, True) and ids == (0, 0)",
    "user=current,net=down,mount": "loopback == (False, False) and ids == outer and not shared",
    "user=5:6": "ids == (5, 6)",
    "user,net,addr=10.0.0.1/8": "address",
    "user,uts=inside,ipc,cgroup,time=+30d": "hostname == 'inside' and clock > now + 2e6",
    "user,monotonic=-1": "clock < now",
    "user,mount=slave,tmpfs=.": "directory == []",
    "user,overlay=.": "directory == ['file'] and writable",
    "user,ro=.": "directory == ['file'] and not writable",
    "user,bind=/usr:.": "'bin' in directory",
    "user,pid": "pid == 2 and processes == 2",
    "user,pid,proc=keep": "pid == 2 and processes > 2",
    "user,net,mount,pid,uts,ipc,caps=none": "pid == 2 and effective == bounding == 0",
    "user=current,caps=keep": "ambient and ids == outer",
    "user,caps=none": "new_privileges == '1' and effective == 0",
    "user,net,sys": "interfaces == 1",
    "user,setgroups=deny": "setgroups == 'deny'",
}


@pytest.fixture(scope="session")
def pypy(session: Session) -> Python:
    found = probe(Path(require_tool("pypy3")))
    assert found.implementation == "pypy"
    return session.python(Variant(found, "pth"))


@pytest.fixture
def place(workdir: Path, session: Session) -> Path:
    (workdir / "place").mkdir()
    (workdir / "place" / "file").write_text("text")
    session.give(workdir)
    return workdir / "place"


@pytest.mark.parametrize("unshare", LISTS)
def test_a_list(pypy: Python, place: Path, watch: Watch, tally: Tally, unshare: str) -> None:
    now = float(Path("/proc/uptime").read_text().split()[0])
    done = pypy.run(SEEN, unshare=unshare, env=watch.env, cwd=place)
    where, seen = ast.literal_eval(done.ok())
    assert where["left"] is None and done.stderr == ""
    kinds = {FILES[item] for item in re.findall(r"(?:^|,)(\w+)", unshare) if item in FILES}
    own = {kind: namespace_inode("self", kind) for kind in kinds}
    tally.case(
        started_unisolated=any(where["namespaces"][kind] == own[kind] for kind in kinds),
        what=f"PyPy, {unshare}: {where}",
    )
    outer = (pypy.user.uid, pypy.user.gid)
    assert eval(LISTS[unshare], {**seen, "pid": where["pid"], "outer": outer, "now": now}), seen
    assert sorted(path.name for path in place.iterdir()) == ["file"]


def test_id_maps_by_helpers(pypy: Python, workdir: Path, watch: Watch, tally: Tally) -> None:
    """By newuidmap(1), and by root, who needs none."""
    require_root()
    require_tool("newuidmap")
    machine = Machine(pypy, workdir)
    for name in ("subuid", "subgid"):
        machine.write(name, "tess:500000:1000\n")
    code = "print(open('/proc/self/uid_map').read().split())"
    said = machine.run(code, "user=auto,net").ok()
    assert said == f"['0', '{pypy.user.uid}', '1', '1', '500000', '1000']\n"
    tally.case()
    unshare = "user,map-users=1:100:5,map-groups=1:200:5"
    said = pypy.run(code, unshare=unshare, env=watch.env, as_root=True).ok()
    assert said == "['0', '0', '1', '1', '100', '5']\n"
    tally.case()


@pytest.mark.parametrize("driver", ["pasta", "slirp4netns"])
def test_a_way_out(
    pypy: Python, session: Session, watch: Watch, tally: Tally, driver: str, full: bool
) -> None:
    require_root()
    for tool in (driver, "ip", "nsenter", "unshare", "setpriv", "mount"):
        require_tool(tool)
    with internet(session.make_workdir()) as site:
        visitor = Visitor(pypy, site)
        code = f"""{CLIENT}
print(exchange("{SERVER}", {ECHO_PORT}))
datagrams("{SERVER}", {ECHO_PORT})
"""
        for more in ("", ",mount,pid") if full else (",mount,pid",):
            assert visitor.run(code, f"user,net={driver}{more}").ok() == f"{SITE}\n"
            tally.case()
        for words in ("tcp", "udp"):
            unshare = f"user,net={driver},publish=8000:9000/{words}"
            with visitor.hold(unshare):
                assert site.others()
            tally.case()
        assert site.wait_until_left() == []


def test_a_gate(pypy: Python, session: Session, watch: Watch, tally: Tally) -> None:
    require_root()
    code = f"""{CLIENT}
import unshare_boot
print(exchange("{NAME}", {ECHO_PORT}))
try:
    exchange("{NAME}", {ECHO_PORT + 1})
except ConnectionRefusedError:
    found = [each["verdict"] for each in unshare_boot.attempts() if each["protocol"] == "tcp"]
    print(*sorted(set(found)))
"""
    with internet(session.make_workdir()) as site:
        for more in ("offline", "user,pid,mount,net,record=/dev/null"):
            unshare = f"{more},allow={NAME}:{ECHO_PORT}"
            assert Visitor(pypy, site).run(code, unshare).ok() == f"{SITE}\npassed refused\n"
            tally.case()
        assert site.wait_until_left() == []


def test_every_end(pypy: Python, watch: Watch, tally: Tally, full: bool) -> None:
    """Exit statuses, and death by each signal, with the supervisor in between."""
    statuses = range(256) if full else (0, 1, 3, 125, 255)
    for status in statuses:
        done = pypy.run(f"import os; os._exit({status})", unshare="user,pid", env=watch.env)
        assert (done.status, done.stderr) == (status, "")
        tally.case()
    numbers = [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1, signal.SIGRTMIN]
    for number in numbers:
        restore = f"signal.signal({int(number)}, signal.SIG_DFL)"
        code = f"import os, signal; {restore}; os.kill(os.getpid(), {int(number)})"
        if number == signal.SIGKILL:
            code = "import os; os.kill(os.getpid(), 9)"
        done = pypy.run(code, unshare="user,pid", env=watch.env)
        assert (done.status, done.stderr) == (-number, "")
        tally.case()


LISTENER = """
import os, signal, sys
numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, 40}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
while True:
    print(int(signal.sigwait(numbers)), flush=True)
"""


def test_signals(pypy: Python, watch: Watch, tally: Tally) -> None:
    """To the process that was started, and to its group: each arrives once."""
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, 40]
    with pypy.popen(LISTENER, unshare="user,pid", env=watch.env) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        for number in numbers:
            child.send_signal(number)
            assert child.stdout.readline() == f"{int(number)}\n"
            tally.case()
        for number in numbers:
            os.killpg(child.pid, number)
            assert child.stdout.readline() == f"{int(number)}\n"
            tally.case()
        child.kill()
        child.wait()
    until(lambda: not watch.processes(), "the end of what was inside")


def test_stops_and_goes_on(pypy: Python, watch: Watch, tally: Tally) -> None:
    stop = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    argv = pypy.command(f"{stop}; print('went on'); raise SystemExit(4)")
    with pypy.user.popen(argv, env={**watch.env, "PY_UNSHARE": "user,pid"}) as child:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        os.kill(child.pid, signal.SIGCONT)
        assert child.stdout and child.stdout.read() == "went on\n"
        _, status = os.waitpid(child.pid, 0)
        assert os.WEXITSTATUS(status) == 4
        child.returncode = 4
    tally.case()


def test_joins(pypy: Python, watch: Watch, tally: Tally) -> None:
    with pypy.hold("user,net,uts=other,pid", env=watch.env) as pid:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        inner = children[1]
        kinds = {"user": "user", "net": "net", "uts": "uts", "mount": "mnt", "pid": "pid"}
        unshare = ",".join(f"{name}=/proc/{inner}/ns/{kind}" for name, kind in kinds.items())
        done = pypy.run(f"{WHERE}\nprint(where())", unshare=unshare, env=watch.env)
        found = ast.literal_eval(done.ok())
        for kind in kinds.values():
            same = found["namespaces"][kind] == namespace_inode(inner, kind)
            tally.case(started_unisolated=not same, what=f"PyPy joins {kind}")


def test_refusals(pypy: Python, watch: Watch, tally: Tally, place: Path) -> None:
    """Status 125, a reason, and no user code."""
    for unshare, words in (
        ("usr", "did you mean user?"),
        ("net", "add user to the list"),
        ("user,tmpfs=/nowhere", "No such file"),
        ("user,net=/proc/self/ns/user", "not net"),
        ("user,map-users=1:100:5,map-groups=1:100:5", "what: map-users"),
        ("user=all", "root"),
        ("user,mount,overlay=/proc", "overlay"),
        ("user,uts=" + 65 * "x", "uts"),
        ("=started-over 1 0 x", "no list"),
    ):
        done = pypy.run("print('user code')", unshare=unshare, env=watch.env, cwd=place)
        tally.case(started_unisolated="user code" in done.stdout, what=f"PyPy, {unshare}")
        assert (done.status, done.stdout) == (125, "") and words in done.stderr, done
        assert "Traceback" not in done.stderr and "fault of unshare-boot" not in done.stderr
    env = {**watch.env, "PY_UNSHARE_ON_ERROR": "warn"}
    done = pypy.run("print('user code')", unshare="net", env=env)
    assert done.ok() == "user code\n" and "un-isolated" in done.stderr
    tally.case()


def test_a_broken_install(
    session: Session, pypy: Python, workdir: Path, watch: Watch, tally: Tally, full: bool
) -> None:
    """Each file of the package missing, in full also cut short: inside, or not at all."""
    shutil.copytree(pypy.venv, workdir / "venv", symlinks=True)
    package = workdir / "venv" / pypy.site_packages.relative_to(pypy.venv) / "unshare_boot"
    executable = workdir / "venv" / "bin" / "python"
    for path in sorted(package.glob("*.py")):
        text = path.read_text()
        for broken in (None, text[: text.index("\n", len(text) // 2) + 1])[: 2 if full else 1]:
            path.unlink(missing_ok=True)
            if broken is not None:
                path.write_text(broken)
            argv: list[Argument] = [executable, "-B", "-c", f"{WHERE}\nprint(where())"]
            done = session.user.run(argv, env={**watch.env, "PY_UNSHARE": "user,net,pid"})
            started = done.stdout != ""
            wrong = started and any(
                ast.literal_eval(done.stdout)["namespaces"][kind] == namespace_inode("self", kind)
                for kind in ("user", "net", "pid")
            )
            tally.case(started_unisolated=wrong, what=f"PyPy without {path.name}: {done}")
            assert started or done.status == 125, done
        path.write_text(text)


def test_starting_over(
    session: Session, workdir: Path, pypy: Python, watch: Watch, tally: Tally
) -> None:
    """Another package's .pth file has started a thread; the program cannot tell."""
    python = session.fresh(Variant(probe(Path(require_tool("pypy3"))), "pth"), workdir / "venv")
    early = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    (python.site_packages / "aaa_early.pth").write_text(f"{early}\n")
    program = f"{WHERE}\nimport sys; print((where(), sys.argv, sys.executable, sys.flags.isolated))"
    (workdir / "program.py").write_text(program)
    for unshare in ("user,net", "user=current,net,pid"):
        for argv in (["-c", program, "x"], ["program.py", "x"], ["-m", "program", "x", "y"]):
            argv = ["-B", *argv]
            env = {**watch.env, "PY_UNSHARE_VERBOSE": "1"}
            done = python.run(argv, unshare=unshare, env=env, cwd=workdir)
            where, *rest = ast.literal_eval(done.ok())
            assert "starting over" in done.stderr
            plain = python.run(argv, env=watch.env, cwd=workdir).ok()
            assert ast.literal_eval(plain)[1:] == tuple(rest)
            unisolated = [
                kind
                for kind in kinds_of(unshare)
                if where["namespaces"][kind] == namespace_inode("self", kind)
            ]
            tally.case(started_unisolated=bool(unisolated), what=f"PyPy starts over: {unisolated}")


def test_only(pypy: Python, place: Path, watch: Watch, tally: Tally) -> None:
    program = place / "program.py"
    program.write_text("import os; print(os.environ.get('PY_UNSHARE'))")
    for only, argv, inside in (
        ("program.py", [program], True),
        ("other.py", [program], False),
        ("program", ["-m", "program"], True),
        ("-c", ["-c", program.read_text()], True),
    ):
        env = {**watch.env, "PY_UNSHARE_ONLY": only}
        done = pypy.run(argv, unshare="user,net", env=env, cwd=place)
        assert done.ok() == ("None\n" if inside else "user,net\n")
        tally.case()


def test_the_functions(pypy: Python, place: Path, watch: Watch, tally: Tally) -> None:
    """unshare(), active(), write_user_map(), bind_mount(), and a refusal that can be caught."""
    code = """
import os, json, unshare_boot as u
try:
    u.unshare("net")
except u.UnshareError as error:
    refused = error.errno
u.unshare("user=none,net,mount")
u.write_user_map({u.original_uid(): 7})
u.write_group_map({u.original_gid(): 8})
os.mkdir("bound")
u.bind_mount("place", "bound", read_only=True)
print(json.dumps([refused, u.active(), os.getuid(), os.getgid(), u.original_uid(),
                  os.listdir("bound"), os.access("bound", os.W_OK)]))
"""
    done = pypy.run(code, env=watch.env, cwd=place.parent)
    found = json.loads(done.ok())
    assert found == [1, ["user", "net", "mount"], 7, 8, pypy.user.uid, ["file"], False]
    tally.case()


def test_the_doctor(pypy: Python, watch: Watch, tally: Tally) -> None:
    done = pypy.run(["-m", "unshare_boot", "check", "user,net,mount,pid"], env=watch.env)
    assert done.ok().startswith("yes")
    done = pypy.run(["-m", "unshare_boot"], env=watch.env, stderr=subprocess.STDOUT)
    assert "yes  PY_UNSHARE takes effect in this interpreter" in done.stdout, done
    tally.case()


def test_a_pool(pypy: Python, place: Path, watch: Watch, tally: Tally) -> None:
    """multiprocessing, each way of starting."""
    program = place / "pool.py"
    program.write_text(f"""{WHERE}
import multiprocessing

def job(number):
    return number * number, where()

if __name__ == "__main__":
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(pool.map(job, range(4)))
""")
    for unshare in (None, "user,net", "user,net,pid"):
        done = pypy.run([program], unshare=unshare, env=watch.env, timeout=2 * DEADLINE)
        for line in done.ok().splitlines():
            answers = ast.literal_eval(line)
            assert [square for square, _ in answers] == [0, 1, 4, 9]
            for _, where in answers:
                for item in unshare.split(",") if unshare else ():
                    own = namespace_inode("self", FILES[item])
                    unisolated = where["namespaces"][FILES[item]] == own
                    tally.case(started_unisolated=unisolated, what=f"PyPy's worker: {where}")
