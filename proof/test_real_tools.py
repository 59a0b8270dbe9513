"""multiprocessing, concurrent.futures, pytest-xdist, venv and pip: programs that start programs."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness import Python, Session, namespace_inode, require_root
from harness.session import default
from proof.conftest import Tally, Watch
from proof.programs import DEADLINE, WHERE, equipped, free_port, kinds_of
from proof.programs import pytest_generate_tests as pytest_generate_tests

LISTS = ["user,net,mount", "user,net,pid"]
MORE_LISTS = ["user,net", "user,pid", "user=current,net", "user,net,mount,uts,ipc,pid"]


@pytest.fixture
def real(session: Session, which: str) -> Python:
    return equipped(session, which)


@pytest.fixture
def pythons(session: Session, full: bool) -> list[Python]:
    """The newest and the oldest, or all."""
    every = [session.python(variant) for variant in default(session.found)]
    return every if full else [every[-1], every[0]]


@pytest.fixture
def lists(full: bool) -> list[str]:
    return [*LISTS, *(MORE_LISTS if full else [])]


def count(places: list[dict[str, Any]], unshare: str | None, tally: Tally, what: str) -> None:
    """Count processes, by what they have said of themselves."""
    for place in places:
        assert place["left"] is None
        for kind in kinds_of(unshare or ""):
            unisolated = place["namespaces"][kind] == namespace_inode("self", kind)
            tally.case(started_unisolated=unisolated, what=f"{what}, {unshare}: {place}")


# Pools of each kind, one of whose workers is killed; a manager; shared memory; a listener.
POOLS = f"""
import asyncio, concurrent.futures, json, multiprocessing, os, signal, socket, sys, time
from multiprocessing import connection, managers, shared_memory
{WHERE}

def job(number):
    time.sleep(0.01)
    return number * number, where()

def die(number):
    os.kill(os.getpid(), signal.SIGKILL)

def fill(name, numbers):
    memory = shared_memory.SharedMemory(name=name)
    memory.buf[0] = sum(numbers)
    memory.close()

def serve(pipe):
    with connection.Listener(("127.0.0.1", 0), authkey=b"key") as listener:
        pipe.send(listener.address)
        with listener.accept() as client:
            client.send(client.recv() + ["back"])

def main():
    outcomes, places = [], []
    for method in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            found = pool.map(job, range(6), chunksize=1)
            outcomes.append([method, [square for square, _ in found]])
            places += [place for _, place in found]
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
            found = list(executor.map(job, range(6)))
            outcomes.append([square for square, _ in found])
            places += [place for _, place in found]
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
            error = executor.submit(die, 0).exception()
            outcomes.append(type(error).__name__)
        with context.Manager() as manager:
            numbers = manager.list([1, 2])
            memory = shared_memory.SharedMemory(create=True, size=1)
            try:
                process = context.Process(target=fill, args=(memory.name, numbers))
                process.start()
                process.join()
                outcomes.append([process.exitcode, memory.buf[0]])
            finally:
                memory.close()
                memory.unlink()
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs,))
        process.start()
        with connection.Client(ours.recv(), authkey=b"key") as client:
            client.send(["there"])
            outcomes.append(client.recv())
        process.terminate()
        process.join()
        outcomes.append(process.exitcode in (0, -signal.SIGTERM))
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        outcomes.append([square for square, _ in executor.map(job, range(6))])

    async def spawn():
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import os; print(6 * 7); os._exit(9)", stdout=-1)
        said, _ = await child.communicate()
        return said.decode(), child.returncode

    outcomes.append(asyncio.run(spawn()))
    print(json.dumps([outcomes, places]))

if __name__ == "__main__":
    main()
"""


def test_pools(
    pythons: list[Python], workdir: Path, watch: Watch, tally: Tally, lists: list[str]
) -> None:
    program = workdir / "pools.py"
    program.write_text(POOLS)
    for python in pythons:
        found = {}
        for unshare in (None, *lists):
            done = python.run([program], unshare=unshare, env=watch.env, timeout=4 * DEADLINE)
            found[unshare], places = json.loads(done.ok())
            assert len(places) >= 36 and done.stderr == "", done
            count(places, unshare, tally, f"a worker of {python.name}")
        assert all(outcome == found[None] for outcome in found.values()), found


SUITE = f"""
import http.server, os, threading, urllib.request
import pytest
{WHERE}

@pytest.fixture(scope="session")
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(str(os.getpid()).encode())
        def log_message(self, *arguments):
            pass
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{{server.server_port}}/"
        server.shutdown()

@pytest.mark.parametrize("number", range(12))
def test_server(number, server):
    with urllib.request.urlopen(server) as answer:
        assert answer.read() == str(os.getpid()).encode()
    with open("places", "a") as file:
        file.write(repr(where()) + "\\n")

def test_a_worker_that_crashes():
    os._exit(3)

def test_that_fails():
    assert False
"""


def test_xdist(
    real: Python, workdir: Path, session: Session, watch: Watch, tally: Tally, lists: list[str]
) -> None:
    (workdir / "test_suite.py").write_text(SUITE)
    session.give(workdir)
    found = {}
    for unshare in (None, *lists):
        (workdir / "places").unlink(missing_ok=True)
        argv = ["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "test_suite.py"]
        env = {**watch.env, "PYTEST_DEBUG_TEMPROOT": str(workdir)}
        done = real.run(argv, unshare=unshare, env=env, cwd=workdir, timeout=4 * DEADLINE)
        summary = re.sub(r" in [\d.]+s.*", "", done.stdout.splitlines()[-1])
        found[unshare] = done.status, summary
        places = [eval(line) for line in (workdir / "places").read_text().splitlines()]
        assert len(places) == 12
        count(places, unshare, tally, "a worker of pytest-xdist")
    assert set(found.values()) == {(1, "2 failed, 12 passed")}, found


def test_a_temporary_directory_by_the_name_of_root(
    real: Python, workdir: Path, session: Session, watch: Watch, tally: Tally
) -> None:
    """pytest's is called after the user; with `user`, and no LOGNAME or USER, that is root's."""
    require_root()
    (workdir / "test_tmp.py").write_text("def test(tmp_path):\n    assert tmp_path.is_dir()\n")
    session.give(workdir)
    (workdir / "pytest-of-root").mkdir(mode=0o700)  # as root's own runs leave it in /tmp
    argv = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_tmp.py"]
    env = {**watch.env, "PYTEST_DEBUG_TEMPROOT": str(workdir)}

    def passes(unshare: str | None, **variables: str) -> bool:
        done = real.run(argv, unshare=unshare, env={**env, **variables}, cwd=workdir)
        tally.case()
        refused = "pytest-of-root is not owned by the current user" in done.stdout + done.stderr
        assert refused == (done.status != 0), done
        return not refused

    assert passes(None, LOGNAME="somebody")
    assert not passes("user,net")
    assert passes("user,net", LOGNAME="somebody")
    assert passes("user=current,net", LOGNAME="somebody")


# Makes an environment, installs into it from an index of its own, and starts what was installed.
DEPLOY = f"""
import json, os, subprocess, sys
{WHERE}
port = sys.argv[1]
index = subprocess.Popen(
    [sys.executable, "-u", "-m", "http.server", port, "-b", "127.0.0.1", "-d", "index"],
    stdout=subprocess.PIPE, stderr=open("asked", "w"))
index.stdout.readline()
subprocess.check_call([sys.executable, "-m", "venv", "environment"])
pip = ["environment/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
       "--no-cache-dir", "--index-url", f"http://127.0.0.1:{{port}}/", "top"]
subprocess.check_call(pip, stderr=subprocess.DEVNULL)
said = subprocess.check_output(["environment/bin/top"], text=True)
index.terminate()
index.wait()
asked = sorted(line.split('"')[1] for line in open("asked") if "GET" in line)
print(json.dumps([said, asked, where()]))
"""


def wheel(directory: Path, name: str, modules: dict[str, str], *metadata: str) -> None:
    """Make a wheel, in the directory of its project as the simple index has it (PEP 503)."""
    info = f"{name}-1.0.dist-info"
    files = {
        **modules,
        f"{info}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *metadata, ""]
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    (directory / name).mkdir(parents=True)
    with zipfile.ZipFile(directory / name / f"{name}-1.0-py3-none-any.whl", "w") as file:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            file.writestr(path, text)


def test_venv_and_pip(
    session: Session, workdir: Path, watch: Watch, tally: Tally, lists: list[str], full: bool
) -> None:
    """Where `overlay` is, nothing of all that stays."""
    able = []
    for variant in reversed(default(session.found)):
        python = session.python(variant)
        if python.run("import ensurepip").status == 0:  # Debian has it in one package more
            able.append(python)
    assert able, "no interpreter here has ensurepip"
    index = workdir / "index"
    below = {"below.py": "def answer():\n    return 42\n"}
    wheel(index, "below", below)
    above = {"top.py": "import below\n\ndef main():\n    print(below.answer())\n"}
    wheel(index, "top", above, "Requires-Dist: below")
    (workdir / "deploy.py").write_text(DEPLOY)
    session.give(workdir)
    before = sorted(path.name for path in workdir.iterdir())
    for python in able if full else able[:1]:
        found = {}
        for unshare in (None, *lists):
            place = workdir
            added = "" if unshare is None else f",overlay={workdir}"
            port = str(8000 if unshare and "net" in unshare else free_port())
            done = python.run(
                ["deploy.py", port],
                unshare=None if unshare is None else unshare + added,
                env=watch.env,
                cwd=place,
                timeout=4 * DEADLINE,
            )
            said, asked, where = json.loads(done.ok().splitlines()[-1])
            found[unshare] = said, asked
            assert said == "42\n" and len(asked) >= 4
            count([where], unshare, tally, "the program that makes an environment")
            if unshare:
                assert sorted(path.name for path in workdir.iterdir()) == before
            else:
                session.tool(["rm", "-rf", workdir / "environment", workdir / "asked"])
        assert all(outcome == found[None] for outcome in found.values()), found
