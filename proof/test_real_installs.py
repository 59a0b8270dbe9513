"""Every way to install a Python program: where the hook takes effect, docs/installing.md says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import Finished, Session, namespace_inode, require_root, require_tool
from harness.interpreters import Interpreter, tool
from harness.processes import Argument
from harness.session import PROJECT
from proof.conftest import Tally, Watch

PAGE = (PROJECT / "docs" / "installing.md").read_text()
ROWS = dict(re.findall(r"^\| (.+?) \| (yes|no) \|", PAGE, re.MULTILINE))

# A program that has to be installed, and tells the inode of its network namespace.
CODE = "import os; print(os.stat('/proc/self/ns/net').st_ino)"
PROGRAM = f"def main():\n    {CODE}\n"
METADATA = """
[project]
name = "showns"
version = "1"
requires-python = ">=3.9"
[project.scripts]
showns = "showns:main"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
DEADLINE = 120


@dataclass(frozen=True)
class Shop:
    """What a user has to install from, and with.

    Attributes:
        session: the suite's.
        python: the interpreter that environments are made from.
        tools: where pex, pipx and shiv are.
        wheels: a directory of wheels, the only index.
        place: an empty directory of the user's, and its HOME.
    """

    session: Session
    python: Path
    tools: Path
    wheels: Path
    place: Path

    def run(self, *command: Argument, **variables: str) -> Finished:
        """Run something as the user, with no index but the wheels."""
        home, wheels = str(self.place), str(self.wheels)
        environment = {
            "HOME": home,
            "PATH": f"{self.place}/.local/bin:{self.tools}:/usr/bin:/bin",
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_FIND_LINKS": wheels,
            "PIP_NO_INDEX": "1",
            "UV_FIND_LINKS": wheels,
            "UV_OFFLINE": "1",
            "UV_PYTHON": str(self.python),
            "UV_PYTHON_DOWNLOADS": "never",
            **variables,
        }
        return self.session.user.run(command, env=environment, cwd=self.place, timeout=DEADLINE)

    def venv(self, name: str, *options: str, of: Path | None = None) -> Path:
        """Make an environment with the standard library's venv, with pip; returns its Python."""
        self.run(of or self.python, "-m", "venv", *options, name).ok()
        return self.place / name / "bin" / "python"


Way = Callable[[Shop], "list[Argument] | tuple[list[Argument], dict[str, str]]"]
WAYS: dict[str, Way] = {}


def way(row: str) -> Callable[[Way], Way]:
    """Remember how the row of this first cell is done."""

    def remember(function: Way) -> Way:
        WAYS[row] = function
        return function

    return remember


@way("`pip install unshare-boot` in a virtual environment")
def in_venv(shop: Shop) -> list[Argument]:
    python = shop.venv("one")
    shop.run(python, "-m", "pip", "install", "unshare-boot").ok()
    return [python, "-c", CODE]


@way("a virtual environment made from it, `python -m venv`")
def venv_of_venv(shop: Shop) -> list[Argument]:
    in_venv(shop)
    return [shop.venv("two", of=shop.place / "one/bin/python"), "-c", CODE]


def user_install(shop: Shop) -> None:
    """As `pip install --user`: the interpreter under test has no pip that the user can run."""
    pip: list[Argument] = [shop.venv("with-pip"), "-m", "pip", "--python", shop.python]
    options = ["--user", "--break-system-packages"]
    shop.run(*pip, "install", *options, "unshare-boot").ok()


@way("`--system-site-packages`, and installed where the environment was made from")
def system_site_packages(shop: Shop) -> list[Argument]:
    user_install(shop)
    return [shop.venv("three", "--system-site-packages"), "-c", CODE]


@way("`pip install --user unshare-boot`")
def for_user(shop: Shop) -> list[Argument]:
    user_install(shop)
    return [shop.python, "-c", CODE]


@way("the same, in a virtual environment")
def for_user_in_venv(shop: Shop) -> list[Argument]:
    user_install(shop)
    return [shop.venv("four"), "-c", CODE]


@way("`pip install --target DIR unshare-boot` and `PYTHONPATH=DIR`")
def target(shop: Shop) -> tuple[list[Argument], dict[str, str]]:
    pip: list[Argument] = [shop.venv("with-pip"), "-m", "pip"]
    shop.run(*pip, "install", "--target", "vendor", "unshare-boot").ok()
    return [shop.python, "-c", CODE], {"PYTHONPATH": str(shop.place / "vendor")}


@way("`uv run --with unshare-boot`")
def uv_run(shop: Shop) -> list[Argument]:
    (shop.place / "pyproject.toml").write_text(
        '[project]\nname = "own"\nversion = "1"\ndependencies = ["showns"]\n'
        'requires-python = ">=3.9"\n'
    )
    return [tool("uv"), "run", "--quiet", "--with", "unshare-boot", "showns"]


@way("`uv tool install TOOL --with unshare-boot`")
def uv_tool(shop: Shop) -> list[Argument]:
    shop.run(tool("uv"), "tool", "install", "showns", "--with", "unshare-boot").ok()
    return [shop.place / ".local/bin/showns"]


@way("`uvx --with unshare-boot TOOL`")
def uvx(shop: Shop) -> list[Argument]:
    return [tool("uv"), "tool", "run", "--quiet", "--with", "unshare-boot", "showns"]


@way("`uv tool install unshare-boot`, for other tools")
def uv_tool_alone(shop: Shop) -> list[Argument]:
    for name in ("showns", "unshare-boot"):
        shop.run(tool("uv"), "tool", "install", name).ok()
    inside = shop.run("unshare-boot", "run", "user,net", "--", "showns").ok()
    assert int(inside) != namespace_inode("self", "net")
    return [shop.place / ".local/bin/showns"]


@way("`pipx inject TOOL unshare-boot`")
def pipx(shop: Shop) -> list[Argument]:
    python = {"PIPX_DEFAULT_PYTHON": str(shop.python)}
    shop.run(shop.tools / "pipx", "install", "showns", **python).ok()
    shop.run(shop.tools / "pipx", "inject", "showns", "unshare-boot", **python).ok()
    return [shop.place / ".local/bin/showns"]


@way("a zipapp that holds it")
def zipapp(shop: Shop) -> list[Argument]:
    pip: list[Argument] = [shop.venv("with-pip"), "-m", "pip"]
    shop.run(*pip, "install", "--target", "app", "unshare-boot", "showns").ok()
    shop.run(shop.python, "-m", "zipapp", "app", "-m", "showns:main", "-o", "app.pyz").ok()
    return [shop.python, "app.pyz"]


@way("a shiv that holds it")
def shiv(shop: Shop) -> list[Argument]:
    made: list[Argument] = [shop.tools / "shiv", "-c", "showns", "-o", "app.pyz"]
    shop.run(*made, "showns", "unshare-boot").ok()
    return [shop.tools / "python", "app.pyz"]


def make_pex(shop: Shop, *options: str) -> list[Argument]:
    made: list[Argument] = [shop.tools / "pex", "showns", "unshare-boot", "-c", "showns"]
    shop.run(*made, "--no-index", "-f", shop.wheels, "-o", "app.pex", *options).ok()
    return [shop.tools / "python", "app.pex"]


@way("a pex that holds it")
def pex(shop: Shop) -> list[Argument]:
    return make_pex(shop)


@way("a pex that holds it, with `--venv`")
def pex_venv(shop: Shop) -> list[Argument]:
    return make_pex(shop, "--venv")


def able(session: Session, most: tuple[int, int] = (3, 99)) -> Interpreter:
    """The newest interpreter that venv works with, up to a version: Debian's lack ensurepip."""
    for interpreter in reversed(session.available):
        if interpreter.version[:2] > most:
            continue
        command = [str(interpreter.executable), "-c", "import ensurepip"]
        if subprocess.run(command, capture_output=True).returncode == 0:
            return interpreter
    pytest.skip("needs an interpreter with ensurepip")


@pytest.fixture
def shop(session: Session, workdir: Path) -> Shop:
    interpreter = able(session)
    directory = session.directory / "shop"
    wheels, tools = directory / "wheels", directory / "tools"

    def make() -> None:
        # The last one for which pex has a pip of its own, and need not fetch one.
        session.make_venv(able(session, most=(3, 11)), tools, "--seed")
        python = tools / "bin" / "python"
        session.uv("pip", "install", "--python", python, "pex", "pipx", "shiv")
        needed = ["pip", "setuptools", "wheel", "packaging", "hatchling"]
        session.tool([python, "-m", "pip", "download", "-q", "-d", wheels, *needed])
        project = directory / "showns"
        project.mkdir()
        (project / "pyproject.toml").write_text(METADATA)
        (project / "showns.py").write_text(PROGRAM)
        session.uv("build", "--quiet", "--wheel", "--out-dir", wheels, project)
        (wheels / session.wheel("pth").name).write_bytes(session.wheel("pth").read_bytes())

    session.once("shop", make)
    return Shop(session, session.base(interpreter), tools / "bin", wheels, workdir)


@pytest.mark.parametrize("row", WAYS)
def test_it_takes_effect_where_the_table_says(
    shop: Shop, tally: Tally, watch: Watch, row: str
) -> None:
    made = WAYS[row](shop)
    command, variables = made if isinstance(made, tuple) else (made, {})
    outside = namespace_inode("self", "net")
    assert int(shop.run(*command, **variables).ok()) == outside
    inside = int(shop.run(*command, **variables, **watch.env, PY_UNSHARE="user,net").ok())
    refused = shop.run(*command, **variables, PY_UNSHARE="usr,net")
    effect = ROWS[row] == "yes"
    assert (inside != outside) == effect
    assert refused.status == (125 if effect else 0), refused
    tally.case(started_unisolated=effect and inside == outside, what=row)


DEBIAN = "Debian's dist-packages, by root, for `/usr/bin/python3`"


def test_in_dist_packages(session: Session, tally: Tally) -> None:
    """In a mount namespace of root's, where nothing of the machine is changed."""
    require_root()
    python = Path(require_tool("/usr/bin/python3"))
    code = "import site, sys; print(site.getsitepackages()[0], sys.version_info[1])"
    directory, minor = session.tool([python, "-c", code]).split()
    if not directory.endswith("/dist-packages"):
        pytest.skip("needs a Python of Debian's")
    wheel = session.wheel("pth" if int(minor) < 18 else "start")
    inner = f"import zipfile; zipfile.ZipFile('{wheel}').extractall('{directory}')"
    user = session.user
    script = f"""
        mount -t tmpfs none {Path(directory).parent.parent} && mkdir -p {directory} &&
        {python} -c "{inner}" &&
        PY_UNSHARE=user,net setpriv --reuid {user.uid} --regid {user.gid} --clear-groups \\
            {python} -c "{CODE}"
    """
    inside = session.root.run(["unshare", "--mount", "sh", "-c", script]).ok()
    isolated = int(inside) != namespace_inode("self", "net")
    assert isolated == (ROWS[DEBIAN] == "yes")
    tally.case(started_unisolated=not isolated, what=DEBIAN)


def test_every_row_is_tried() -> None:
    assert set(ROWS) == {*WAYS, DEBIAN}
