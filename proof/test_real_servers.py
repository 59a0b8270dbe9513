"""gunicorn, uvicorn, Flask and celery: workers, reloads, and the end, as without PY_UNSHARE."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import Python, Session, until
from proof.conftest import Tally, Watch
from proof.programs import DEADLINE, WHERE, Running, equipped, running
from proof.programs import pytest_generate_tests as pytest_generate_tests

# A worker that is busy for a moment leaves the next request to another.
WSGI = f"""
import json, time
{WHERE}
VERSION = 1

def app(environ, start_response):
    time.sleep(0.05)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(dict(where(), version=VERSION)).encode()]
"""

ASGI = f"""
import json, time
{WHERE}
VERSION = 1

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({{"type": kind + ".complete"}})
            if kind == "lifespan.shutdown":
                return
    time.sleep(0.05)
    body = json.dumps(dict(where(), version=VERSION)).encode()
    headers = [(b"content-type", b"application/json")]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})
"""

FLASK = f"""
from flask import Flask
{WHERE}
VERSION = 1
app = Flask(__name__)

@app.route("/")
def index():
    return dict(where(), version=VERSION)
"""

TASKS = f"""
import os
from celery import Celery
{WHERE}
here = os.path.dirname(os.path.abspath(__file__))
app = Celery("tasks", broker="filesystem://", backend="file://" + here + "/results")
app.conf.broker_transport_options = {{
    name: here + "/queue" for name in ("data_folder_in", "data_folder_out", "control_folder")
}}

@app.task
def task(number):
    return dict(where(), double=2 * number)
"""

LISTS = ["user,net,mount", "user,net,pid"]
MORE_LISTS = ["user=current,net", "user,net,mount,uts,ipc", "user,net,mount,pid"]


@pytest.fixture
def real(session: Session, which: str) -> Python:
    return equipped(session, which)


@pytest.fixture
def place(workdir: Path, session: Session) -> Path:
    for name, text in {"wsgi": WSGI, "asgi": ASGI, "flasked": FLASK, "tasks": TASKS}.items():
        (workdir / f"{name}.py").write_text(text)
    for name in ("queue", "results"):
        (workdir / name).mkdir()
    session.give(workdir)
    return workdir


Scene = Callable[[Running], list[Any]]


def same_as_ever(
    scene: Scene, argv: list[str], real: Python, place: Path, watch: Watch, tally: Tally, full: bool
) -> None:
    """Play a scene with a program, un-isolated and with each list: it has to go the same way."""
    found = {}
    for unshare in (None, *LISTS, *(MORE_LISTS if full else [])):
        for path in place.glob("*.py"):
            path.write_text(path.read_text().replace("VERSION = 2", "VERSION = 1"))
        env = {"HOME": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
        with running(real, argv, unshare, watch, tally, cwd=place, env=env) as program:
            found[unshare] = scene(program)
    assert all(outcome == found[None] for outcome in found.values()), found


def pids(answers: list[dict[str, Any]]) -> list[int]:
    return [answer["pid"] for answer in answers]


def change(place: Path, name: str) -> None:
    """Have another version of a program."""
    path = place / f"{name}.py"
    path.write_text(path.read_text().replace("VERSION = 1", "VERSION = 2"))


def test_gunicorn(real: Python, place: Path, watch: Watch, tally: Tally, full: bool) -> None:
    def scene(program: Running) -> list[Any]:
        first = pids(program.ask(2))
        program.child.send_signal(signal.SIGHUP)  # new workers
        second = pids(program.ask(2, known=first))
        program.child.send_signal(signal.SIGTTIN)  # one more
        third = pids(program.ask(1, known=[*first, *second]))
        return [len(first), len(second), len(third), program.end()]

    argv = ["-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:{port}", "wsgi:app"]
    same_as_ever(scene, argv, real, place, watch, tally, full)


def test_gunicorn_reloads(
    real: Python, place: Path, watch: Watch, tally: Tally, full: bool
) -> None:
    def scene(program: Running) -> list[Any]:
        first = program.ask(1)
        change(place, "wsgi")
        second = program.ask(1, known=pids(first))
        versions = [first[0]["version"], second[0]["version"]]
        return [*versions, program.end(signal.SIGINT, to_group=True)]

    argv = ["-m", "gunicorn", "--reload", "-k", "gthread", "-b", "127.0.0.1:{port}", "wsgi:app"]
    same_as_ever(scene, argv, real, place, watch, tally, full)


def test_gunicorn_is_upgraded(real: Python, place: Path, watch: Watch, tally: Tally) -> None:
    """On SIGUSR2 it starts another one of itself, which with `pid` cannot outlive it."""
    argv = [str(real.venv / "bin" / "gunicorn"), "--pid", "pid"]
    argv += ["-b", "127.0.0.1:{port}", "wsgi:app"]
    for unshare in (None, "user,net,mount", "user,net,pid"):
        with running(real, argv, unshare, watch, tally, cwd=place) as program:
            first = pids(program.ask(1))
            program.child.send_signal(signal.SIGUSR2)
            program.ask(1, known=first)
            program.child.send_signal(signal.SIGQUIT)
            assert program.child.wait(DEADLINE) == 0
            if unshare != "user,net,pid":
                until(lambda: not (place / "pid.2").exists(), "the new one", program.log)
                assert len(program.processes()) == 2
                os.kill(int((place / "pid").read_text()), signal.SIGTERM)
            until(lambda: not watch.processes(), "the end of the new one", program.log)


def test_uvicorn(real: Python, place: Path, watch: Watch, tally: Tally, full: bool) -> None:
    def scene(program: Running) -> list[Any]:
        first = pids(program.ask(2))
        program.child.send_signal(signal.SIGHUP)
        second = pids(program.ask(2, known=first))
        return [len(first), len(second), program.end()]

    argv = ["-m", "uvicorn", "--loop", "uvloop", "--workers", "2", "--port", "{port}", "asgi:app"]
    same_as_ever(scene, argv, real, place, watch, tally, full)


def test_uvicorn_reloads(real: Python, place: Path, watch: Watch, tally: Tally, full: bool) -> None:
    def scene(program: Running) -> list[Any]:
        first = program.ask(1)
        change(place, "asgi")
        second = program.ask(1, known=pids(first))
        return [first[0]["version"], second[0]["version"], program.end()]

    argv = ["-m", "uvicorn", "--reload", "--port", "{port}", "asgi:app"]
    same_as_ever(scene, argv, real, place, watch, tally, full)


def test_flask_reloads(real: Python, place: Path, watch: Watch, tally: Tally, full: bool) -> None:
    def scene(program: Running) -> list[Any]:
        first = program.ask(1)
        change(place, "flasked")
        second = program.ask(1, known=pids(first))
        versions = [first[0]["version"], second[0]["version"]]
        return [*versions, program.end(signal.SIGINT, to_group=True)]

    argv = ["-m", "flask", "--app", "flasked", "run", "--debug", "--port", "{port}"]
    same_as_ever(scene, argv, real, place, watch, tally, full)


SEND = """
import json
from tasks import task
results = [task.delay(number) for number in range(4)]
print(json.dumps([result.get(timeout=60, interval=0.05) for result in results]))
"""


def test_celery(
    real: Python, place: Path, watch: Watch, tally: Tally, full: bool, pool: str
) -> None:
    """The broker is a directory, so that whoever sends can be anywhere."""

    def work(program: Running) -> list[int]:
        told = json.loads(program.inside(["-c", SEND], cwd=place))
        for answer in told:
            assert answer["left"] is None
            program._compare(answer["namespaces"], answer)
        program.together()
        return [answer["double"] for answer in told]

    def scene(program: Running) -> list[Any]:
        first = work(program)
        said = len(program.log.read_text())
        program.child.send_signal(signal.SIGHUP)  # executes itself anew
        until(lambda: " ready." in program.log.read_text()[said:], "the restart", program.log)
        return [first, work(program), program.end()]

    argv = [
        str(real.venv / "bin" / "celery"),
        "-A",
        "tasks",
        "worker",
        "-P",
        pool,
        "-c",
        "2",
        "-l",
        "INFO",
    ]
    same_as_ever(scene, argv, real, place, watch, tally, full)
