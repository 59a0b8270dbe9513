"""Jupyter kernels, IPython, pdb and gdb: talked with while they run, from inside and outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest

from harness import Python, Session, namespace_inode, require_tool, until
from harness.processes import Argument
from harness.session import default
from harness.terminal import terminal
from proof.conftest import Tally, Watch
from proof.programs import DEADLINE, WHERE, equipped, running
from proof.programs import pytest_generate_tests as pytest_generate_tests


@pytest.fixture
def real(session: Session, which: str) -> Python:
    return equipped(session, which)


@pytest.fixture
def lists(full: bool) -> list[str]:
    more = ["user,net", "user,pid", "user,net,mount,pid"]
    return ["user,net,mount", "user,net,pid", *(more if full else [])]


# Starts a kernel, has it compute, interrupts it, starts it anew, and ends it.
NOTEBOOK = """
import atexit, contextlib, json, os, queue, sys
from jupyter_client import KernelManager
transport, unshare = sys.argv[1:]
manager = KernelManager(transport=transport)
if transport == "ipc":
    manager.ip = os.path.join(os.getcwd(), "kernel")
if unshare:
    manager.kernel_spec.env["PY_UNSHARE"] = unshare
manager.start_kernel()
atexit.register(manager.shutdown_kernel, now=True)
client = manager.blocking_client()
client.start_channels()
client.wait_for_ready(timeout=90)

def execute(code):
    said = []
    hook = lambda message: said.append(message["content"].get("text", ""))
    reply = client.execute_interactive(code, timeout=90, output_hook=hook)
    return reply["content"]["status"], "".join(filter(None, said))

def where():
    status, said = execute(WHERE + "\\nimport json; print(json.dumps(where()))")
    return status, manager.provisioner.pid, json.loads(said)

WHERE = open("where.py").read()
found = [where()]

def interrupt():
    asked = client.execute("import time; print('asleep', flush=True); time.sleep(600)")
    while "asleep" not in client.get_iopub_msg(timeout=90)["content"].get("text", ""):
        pass
    for _ in range(4):  # a KeyboardInterrupt is lost in ipykernel now and then, un-isolated as well
        manager.interrupt_kernel()
        with contextlib.suppress(queue.Empty):
            while (answer := client.get_shell_msg(timeout=10))["parent_header"]["msg_id"] != asked:
                pass
            return answer["content"]["ename"]

interrupted = None
for _ in range(3):  # or it forgets to answer
    interrupted = interrupted or interrupt()
manager.restart_kernel()
client.wait_for_ready(timeout=90)
found.append(where())
process = manager.provisioner.process
if "stay" in os.environ:
    print(json.dumps(found[1][1]), flush=True)
    sys.stdin.read()
client.shutdown()
print(json.dumps({"found": found, "interrupted": interrupted, "status": process.wait(90)}))
client.stop_channels()
manager.cleanup_resources()
"""


@pytest.fixture
def place(workdir: Path, session: Session) -> Path:
    (workdir / "where.py").write_text(WHERE)
    (workdir / "notebook.py").write_text(NOTEBOOK)
    session.give(workdir)
    return workdir


def inside(found: dict[str, int], unshare: str | None, tally: Tally, what: str) -> None:
    """Count a program, by what it has said of its namespaces."""
    names = {"mount": "mnt"}
    for item in (unshare or "").split(","):
        kind = names.get(item, item)
        if kind in found:
            unisolated = found[kind] == namespace_inode("self", kind)
            tally.case(started_unisolated=unisolated, what=f"{what}, {unshare}: {kind}")


def notebook(real: Python, place: Path, env: dict[str, str], *arguments: str) -> dict[str, Any]:
    argv: list[Argument] = ["notebook.py", *arguments]
    done = real.run(argv, env={"HOME": str(place), **env}, cwd=place, timeout=4 * DEADLINE)
    found: dict[str, Any] = json.loads(done.ok().splitlines()[-1])
    return found


def same_kernel(told: dict[str, Any], unshare: str | None, tally: Tally) -> None:
    """What comes of a kernel, wherever it is: two starts, an interrupt, and an end."""
    assert (told["interrupted"], told["status"]) == ("KeyboardInterrupt", 0)
    places = []
    for status, _, found in told["found"]:
        assert (status, found["left"]) == ("ok", None)
        inside(found["namespaces"], unshare, tally, "kernel")
        places.append(found["namespaces"])
    assert len(places) == 2


def test_a_kernel_for_a_client_outside(
    real: Python, place: Path, watch: Watch, tally: Tally, lists: list[str]
) -> None:
    """By unix sockets in a directory, since the kernel has a loopback of its own."""
    for unshare in (None, *lists):
        told = notebook(real, place, watch.env, "ipc", unshare or "")
        same_kernel(told, unshare, tally)
        for _, outer, found in told["found"]:
            assert found["pid"] == (2 if "pid" in (unshare or "") else outer)


def test_a_kernel_with_its_client(
    real: Python, place: Path, watch: Watch, tally: Tally, lists: list[str]
) -> None:
    """By TCP on the loopback that both are on."""
    for unshare in lists:
        told = notebook(real, place, {**watch.env, "PY_UNSHARE": unshare}, "tcp", "")
        same_kernel(told, unshare, tally)
        assert all(outer == found["pid"] for _, outer, found in told["found"])


def test_a_kernel_whose_client_is_killed(
    real: Python, place: Path, watch: Watch, tally: Tally
) -> None:
    """It sees that its parent is another one, but for `pid`, inside which that has no number."""
    env = {**watch.env, "HOME": str(place), "stay": "1"}
    for unshare, stays in ((None, False), ("user,net", False), ("user,net,pid", True)):
        argv: list[Argument] = ["notebook.py", "ipc", unshare or ""]
        with real.popen(argv, env=env, cwd=place, timeout=4 * DEADLINE) as client:
            assert client.stdout
            kernel = int(client.stdout.readline())
            client.kill()
            client.wait()
            if stays:
                tally.case()
                os.kill(kernel, 0)
                os.kill(kernel, signal.SIGTERM)
            until(lambda: not watch.processes(), "the kernel's end")
            tally.case()


def told(child: pexpect.spawn[str]) -> dict[str, Any]:
    """What a program at a terminal has printed of itself."""
    child.expect(r">(\{.*\})<")
    assert isinstance(child.match, re.Match)
    found: dict[str, Any] = json.loads(child.match.group(1))
    return found


def interrupt(child: pexpect.spawn[str]) -> None:
    """Press Ctrl-C until that is seen; IPython misses one now and then, un-isolated as well."""
    for _ in range(12):
        child.sendintr()
        if child.expect(["KeyboardInterrupt", pexpect.TIMEOUT], timeout=5) == 0:
            return
    raise AssertionError("no KeyboardInterrupt")


def test_ipython(
    real: Python, place: Path, watch: Watch, tally: Tally, lists: list[str], session: Session
) -> None:
    outcomes = set()
    options = ["--no-banner", "--no-confirm-exit", "--colors=NoColor"]
    argv = [str(real.executable), "-m", "IPython", *options]
    env = {**watch.env, "IPYTHONDIR": str(place / "ipython")}
    for unshare in (None, *lists):
        with terminal(session.user, argv, unshare, **env) as child:
            child.timeout = DEADLINE
            child.expect(r"In \[1\]:")
            child.sendline(f"%run {place}/where.py")
            child.expect(r"In \[2\]:")
            child.sendline("import json; print('>' + json.dumps(where()) + '<')")
            found = told(child)
            inside(found["namespaces"], unshare, tally, "IPython")
            assert found["left"] is None
            child.expect(r"In \[3\]:")
            child.sendline("!echo $((6*7)) from a shell")
            child.expect("42 from a shell")
            child.expect(r"In \[4\]:")
            child.sendline("import time; print('asl' + 'eep'); time.sleep(600)")
            child.expect("asleep")
            interrupt(child)
            child.expect(r"In \[5\]:")
            child.sendline("exit")
            child.expect(pexpect.EOF)
            child.close()
            outcomes.add((child.exitstatus, child.signalstatus))
    assert outcomes == {(0, None)}


DEBUGGED = f"""
{WHERE}
import json

def double(number):
    result = 2 * number
    breakpoint()
    return result

print(">" + json.dumps(where()) + "<")
print("result", double(21))
1 / 0
"""


def test_pdb(
    newest: Python, oldest: Python, place: Path, watch: Watch, tally: Tally, lists: list[str]
) -> None:
    """breakpoint(), then the program under pdb from its first line to a post mortem."""
    (place / "debugged.py").write_text(DEBUGGED)
    for python in (newest, oldest):
        outcomes = set()
        for unshare in (None, *lists):
            program = [str(python.executable), str(place / "debugged.py")]
            with terminal(python.user, program, unshare, **watch.env) as child:
                child.timeout = DEADLINE
                found = told(child)
                inside(found["namespaces"], unshare, tally, "breakpoint()")
                child.expect(r"\(Pdb\) ")
                child.sendline("p result, result + 1")
                child.expect(r"\(42, 43\)")
                child.sendline("continue")
                child.expect("result 42")
                child.expect("ZeroDivisionError")
                child.expect(pexpect.EOF)
                child.close()
                outcomes.add(("breakpoint", child.exitstatus, child.signalstatus))
            program[1:1] = ["-m", "pdb"]
            with terminal(python.user, program, unshare, **watch.env) as child:
                child.timeout = DEADLINE
                child.expect(r"\(Pdb\) ")
                for command in ("break double", "continue", "args", "return", "p result"):
                    child.sendline(command)
                    child.expect(r"\(Pdb\) ")
                child.sendline("continue")
                child.expect("result 42")
                child.expect("Entering post mortem debugging")
                child.expect(r"\(Pdb\) ")
                child.sendline("p sorted(where()['namespaces'])[0]")
                child.expect("'ipc'")
                child.sendline("quit")
                child.expect(r"\(Pdb\) ")  # it starts the program once more
                child.sendline("quit")
                child.expect(pexpect.EOF)
                child.close()
                outcomes.add(("-m pdb", child.exitstatus, child.signalstatus))
            tally.case()
        assert len(outcomes) == 2, outcomes


SLEEPER = """
import time

def work(number):
    print("at work", flush=True)
    while number:
        time.sleep(0.05)

work(42)
"""


def joining(program: int, unshare: str) -> tuple[str, int]:
    """The list that joins a program, and its number there."""
    names = {"user": "user", "net": "net", "mount": "mnt", "pid": "pid"}
    items = [item for item in unshare.split(",") if item in names]
    if "pid" in items and "mount" not in items:
        items.append("mount")
    joined = [f"{item}=/proc/{program}/ns/{names[item]}" for item in items]
    return ",".join(joined), 2 if "pid" in unshare else program


def test_pdb_attaches(
    session: Session, place: Path, watch: Watch, tally: Tally, lists: list[str]
) -> None:
    """python -m pdb -p, new in 3.14; the two talk by TCP, so it has to be on the same loopback."""
    able = [each for each in default(session.found) if each.interpreter.version >= (3, 14)]
    if not able:
        pytest.skip("no Python from 3.14 on is here: older ones have no pdb -p")
    python = session.python(able[-1])
    (place / "sleeper.py").write_text(SLEEPER)
    for unshare in lists:
        with running(python, ["sleeper.py"], unshare, watch, tally, cwd=place) as program:
            until(lambda: "at work" in program.log.read_text(), "the program", program.log)
            joined, number = joining(program.program(), unshare)
            commands = "up\np number\nnumber = 0\np 'sent'\nquit\n"
            done = python.run(
                ["-m", "pdb", "-p", str(number)], unshare=joined, env=watch.env, stdin=commands
            )
            assert "42" in done.ok() and "work(42)" in done.stdout, done
            program.processes()
            assert program.end() == -signal.SIGTERM


GDB = ["-q", "-nx", "-batch", "-iex", "set auto-load off"]
ASK = ["-ex", "print (int)getpid()", "-ex", "backtrace", "-ex", "detach"]


def test_gdb_attaches(
    newest: Python, place: Path, watch: Watch, tally: Tally, lists: list[str]
) -> None:
    """From outside, where it has to be told that files are where they are here; and from inside."""
    gdb = require_tool("gdb")
    (place / "sleeper.py").write_text(SLEEPER)
    for unshare in (None, *lists):
        with running(newest, ["sleeper.py"], unshare, watch, tally, cwd=place) as program:
            until(lambda: "at work" in program.log.read_text(), "the program", program.log)
            outer = program.program()
            number = 2 if "pid" in (unshare or "") else outer
            attach: list[Argument] = [gdb, *GDB, "-iex", "set sysroot /", "-p", str(outer), *ASK]
            done = newest.user.run(attach, env=watch.env, timeout=2 * DEADLINE)
            assert f"$1 = {number}\n" in done.ok() and "PyEval_EvalCode" in done.stdout, done
            tally.case()
            if unshare:
                joined, number = joining(program.program(), unshare)
                code = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
                attach = ["-c", code, gdb, *GDB, "-p", str(number), *ASK]
                done = newest.run(attach, unshare=joined, env=watch.env, timeout=2 * DEADLINE)
                assert f"$1 = {number}\n" in done.ok() and "PyEval_EvalCode" in done.stdout, done
                tally.case()
            program.processes()
            assert program.end() == -signal.SIGTERM


def test_under_gdb(
    newest: Python, place: Path, watch: Watch, tally: Tally, lists: list[str]
) -> None:
    gdb = require_tool("gdb")
    code = f"{WHERE}\nimport json; print('>' + json.dumps(where()) + '<'); raise SystemExit(7)"
    for unshare in (None, *lists):
        argv = [gdb, *GDB, "-ex", "run", "--args", *newest.command(code)]
        env = {**watch.env, **({"PY_UNSHARE": unshare} if unshare else {})}
        said = newest.user.run(argv, env=env, timeout=2 * DEADLINE).ok()
        found = json.loads(said[said.index(">{") + 1 : said.index("}<") + 1])
        inside(found["namespaces"], unshare, tally, "under gdb")
        assert found["left"] is None
        assert "exited with code 07" in said
        tally.case()


def test_post_mortem_of_a_core(newest: Python, place: Path, watch: Watch, tally: Tally) -> None:
    """A traceback by faulthandler on a fatal signal is the program's own, isolated or not."""
    code = "import ctypes, faulthandler; faulthandler.enable(); ctypes.string_at(0)"
    outcomes = set()
    for unshare in (None, "user,net", "user,net,pid"):
        done = newest.run(code, unshare=unshare, env=watch.env, stderr=subprocess.STDOUT)
        outcomes.add((done.status, "Segmentation fault" in done.stdout))
        tally.case()
    assert outcomes == {(-signal.SIGSEGV, True)}
