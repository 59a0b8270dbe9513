"""Runs of pytest in environments that have it, with the plugin and other plugins.

A test module imports the fixtures `tested` and `run`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.processes import Finished, Python
from harness.session import Session, default

# pytest-forked cannot serialise the reports of pytest 9.
NEEDS = ["pytest<9", "pytest-cov", "pytest-forked", "pytest-timeout", "pytest-xdist"]

# Python 3.9 has none that knows subtests.
NEWEST = ["pytest>=9; python_version >= '3.10'", "pytest>=8.4; python_version < '3.10'"]

Run = Callable[..., Finished]


@pytest.fixture(scope="session")
def tested(request: pytest.FixtureRequest, session: Session) -> Python:
    """An environment that has pytest and plugins; not changed by any test. `COSTLY`."""
    return with_pytest(session, request.param)


def with_pytest(session: Session, which: str) -> Python:
    """That environment; the newest Python has the newest pytest as well."""
    needs = [n for n in NEEDS if which == "oldest" or n != "pytest-forked"]
    needs = [n.partition("<")[0] if which == "newest" else n for n in needs]
    return with_packages(session, which, which, needs)


def with_packages(session: Session, which: str, name: str, needs: list[str]) -> Python:
    """An environment of the oldest or the newest Python."""
    interpreter = default(session.found)[0 if which == "oldest" else -1]
    directory = session.directory / f"pytest-{name}"

    def make() -> None:
        made = session.fresh(interpreter, directory)
        session.uv("pip", "install", "--python", made.executable, *needs)

    session.once(directory.name, make)
    return session._handle(interpreter, directory)


@pytest.fixture
def run(tested: Python, workdir: Path, session: Session) -> Run:
    """Write files into a directory and run pytest there."""
    return runner(tested, workdir, session)


def runner(tested: Python, workdir: Path, session: Session) -> Run:

    def run(*arguments: str, unshare: str | None = None, **options: Any) -> Finished:
        files = {
            key: options.pop(key) for key in list(options) if key.startswith(("test_", "conftest"))
        }
        ini = options.pop("ini", None)
        if ini is not None:
            lines = "".join(f"{line}\n" for line in str(ini).splitlines())
            (workdir / "pyproject.toml").write_text(f"[tool.pytest.ini_options]\n{lines}")
        for name, text in files.items():
            (workdir / f"{name}.py").write_text(str(text))
        session.give(workdir)
        command = ["-m", "pytest", "-p", "no:cacheprovider"] if "own" not in options else []
        options.pop("own", None)
        return tested.run(
            [*command, *arguments],
            unshare=unshare,
            # Not /tmp/pytest-of-tester, which can be somebody else's.
            env={
                "USER": "tester",
                "PYTEST_DEBUG_TEMPROOT": str(tested.user.home),
                **options.pop("env", {}),
            },
            cwd=workdir,
            **options,
        )

    return run
