"""The README and the pages: their commands print what they say, their files are what they claim."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness import Interpreter, Session, require_tool
from harness.console import Block, Command, as_user, blocks, commands, matches, run
from harness.processes import Argument
from harness.session import PROJECT
from unshare_boot.language import alternatives, parse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGES = sorted(
    [PROJECT / f"{name}.md" for name in ("README", "CONTRIBUTING", "RELEASING", "SECURITY")]
    + list((PROJECT / "docs").glob("*.md"))
)
BLOCKS = [block for page in PAGES for block in blocks(page)]

# Whose commands need more than a shell, and the test that runs them.
ELSEWHERE = {
    "reference.md": "tests/test_reference.py",
    "ci-tools.md": "proof/test_real_tox_and_nox.py",
}

SHELL = ("console", "sh", "bash", "shell")
CONSOLE = [
    block
    for block in BLOCKS
    if block.language == "console" and not block.reason and block.page.name not in ELSEWHERE
]
FIRST_STEPS = [block for block in CONSOLE if block.page.name == "getting-started.md"]
NOT_RUN = [
    block
    for block in BLOCKS
    if (block.language in SHELL or re.search(r"^[$#] \w", block.text, re.MULTILINE))
    and block not in CONSOLE
    and block.language not in ("yaml", "toml", "ini", "python", "dockerfile")
]

# What a list looks like in a command, in YAML, TOML, INI and Python.
LISTS = re.compile(r"""\bPY_UNSHARE["']?\s*(?:=|:)\s*(?:"([^"\n]*)"|'([^'\n]*)'|([^\s"'`#)}<]+))""")


@pytest.fixture(scope="session")
def wheelhouse(session: Session) -> Path:
    """A directory that pip finds our wheels in, and all that they and the pages need."""
    directory = session.directory / "wheelhouse"

    def make() -> None:
        needed = ["hatchling>=1.27", "pytest>=8", "colorama", "pip", "setuptools", "uv"]
        # For the Python that a reader has, which may be newer than the one that runs this.
        version = ".".join(map(str, with_venv(session).version[:2]))
        target: list[Argument] = ["--python-version", version, "--only-binary", ":all:"]
        pip = [sys.executable, "-m", "pip", "download", "-q", *target]
        session.tool([*pip, "-d", directory, *needed])
        for kind in ("pth", "start"):
            shutil.copy(session.wheel(kind), directory)

    session.once("wheelhouse", make)
    return directory


def with_venv(session: Session) -> Interpreter:
    """The newest interpreter that `python -m venv` works with: Debian's want one package more."""
    for interpreter in reversed(session.available):
        command = [str(interpreter.executable), "-c", "import ensurepip"]
        if subprocess.run(command, capture_output=True).returncode == 0:
            return interpreter
    return session.available[-1]


@pytest.fixture(scope="session")
def tools(session: Session, wheelhouse: Path) -> Path:
    """The directory of `python`, `pip`, `pytest` and `unshare-boot`, as a reader has them."""
    return installed(session, with_venv(session), "--no-index", "--find-links", str(wheelhouse))


@pytest.fixture(scope="session")
def oldest_tools(session: Session) -> Path:
    """The same with the oldest Python, for which other versions of what it needs are the newest."""
    return installed(session, session.available[0], "--find-links", session.wheel("pth").parent)


def installed(session: Session, interpreter: Interpreter, *index: Argument) -> Path:
    directory = session.directory / f"docs-venv-{interpreter.name}"

    def make() -> None:
        python = session.make_venv(interpreter, directory)
        wanted = ["pip", "pytest", "uv", "unshare-boot"]
        session.uv("pip", "install", "--python", python, *index, *wanted)

    session.once(directory.name, make)
    return directory / "bin"


def variables(wheelhouse: Path, tools: Path) -> dict[str, str]:
    """An environment in which pip and uv look into the wheelhouse, and nowhere else."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheelhouse),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(wheelhouse),
        "UV_PYTHON": str(tools / "python"),
        "UV_LINK_MODE": "copy",
    }


@pytest.mark.parametrize("block", CONSOLE, ids=str)
def test_it_prints_that(
    block: Block, session: Session, tools: Path, wheelhouse: Path, workdir: Path
) -> None:
    require_printed(block, session, tools, workdir, variables(wheelhouse, tools))


@pytest.mark.parametrize("block", FIRST_STEPS, ids=str)
def test_the_first_steps_with_the_oldest_python(
    block: Block,
    session: Session,
    oldest_tools: Path,
    wheelhouse: Path,
    workdir: Path,
    pytestconfig: pytest.Config,
) -> None:
    if not pytestconfig.getoption("--all-pythons"):
        pytest.skip("takes long: --all-pythons runs it")
    require_printed(block, session, oldest_tools, workdir, variables(wheelhouse, oldest_tools))


def require_printed(
    block: Block, session: Session, tools: Path, workdir: Path, env: dict[str, str]
) -> None:
    shutil.copytree(PROJECT / "examples", workdir / "examples")
    for other in BLOCKS:
        if other.file and other.page == block.page and other.line < block.line:
            path = workdir / other.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(other.text)
    session.give(workdir)
    for command in commands(block.text):
        # The interpreter of a reader is not in /tmp; the one of the tests is.
        kept = f"tmpfs=/tmp,rw={session.directory}"
        command = replace(command, text=command.text.replace("tmpfs=/tmp", kept))
        who = session.root if command.prompt == "#" else session.user
        done = run(command, who, tools, workdir, **env)
        expected = as_user(command.output, session.user.uid, session.user.gid)
        assert matches(expected, done.stdout), f"{command.text}\n{done.stdout}"


def test_the_first_command_of_the_readme(
    session: Session, tools: Path, wheelhouse: Path, workdir: Path
) -> None:
    (block,) = (
        block
        for block in BLOCKS
        if block.page.name == "README.md" and "pip install ." in block.text
    )
    session.tool(["tar", "-xf", session.distributions()["sdist"], "-C", workdir])
    (checkout,) = workdir.iterdir()
    session.give(workdir)
    command = Command("$", block.text, "uid 0, gid 0\nlistening on 127.0.0.1:80\n...")
    env = variables(wheelhouse, tools)
    done = run(command, session.user, tools, checkout, **env, PIP_QUIET="1")
    assert done.status == 0 and matches(command.output, done.stdout), done.stdout


def test_the_hook_of_pre_commit(
    session: Session,
    tools: Path,
    wheelhouse: Path,
    workdir: Path,
    pytestconfig: pytest.Config,
) -> None:
    if not pytestconfig.getoption("--all-pythons"):
        pytest.skip("takes long: --all-pythons runs it")
    require_tool("git")
    directory = session.directory / "pre-commit"
    session.uv("venv", "--python", session.readable_interpreter(), directory)
    session.uv("pip", "install", "--python", directory / "bin" / "python", "pre-commit")
    for block in BLOCKS:
        if block.file in (".pre-commit-config.yaml", "tests/test_isolated.py"):
            path = workdir / block.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text)
    session.give(workdir)
    text = "git init -q . && git add . && pre-commit run --all-files --verbose"
    env = variables(wheelhouse, tools)
    done = run(Command("$", text, ""), session.user, directory / "bin", workdir, **env)
    assert done.status == 0 and "1 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_what_is_not_run_says_why(block: Block) -> None:
    elsewhere = ELSEWHERE.get(block.page.name)
    if elsewhere:
        assert block.page.name in (PROJECT / elsewhere).read_text()
    else:
        assert block.reason, f"{block} needs a comment before it: <!-- not run: REASON -->"


@pytest.mark.parametrize(
    "block",
    [b for b in BLOCKS if b.language in ("yaml", "toml", "ini", "json", "python")],
    ids=str,
)
def test_it_parses(block: Block) -> None:
    if block.language == "yaml":
        assert list(yaml.safe_load_all(block.text)) != [None]
    elif block.language == "toml":
        assert tomllib.loads(block.text)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "ini":
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(block.text)
        assert parser.sections()
    else:
        compile(block.text, str(block), "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_lists_are_understood(page: Path) -> None:
    """Also those of commands that cannot be run here; none but a refused one is wrong."""
    text = page.read_text()
    refused = set(re.findall(r"PY_UNSHARE='([^'\n]*)' refused", text))
    for found in LISTS.finditer(text):
        value = next(filter(None, found.groups()), "").rstrip(",;:|")
        if value in refused or re.search(r"[A-Z$…{*\\]|\.\.\.|=$", value):  # a placeholder
            continue
        for each in alternatives(value):
            parse(each)


def test_every_module_is_named() -> None:
    table = (PROJECT / "docs" / "how-it-works.md").read_text()
    package = PROJECT / "src" / "unshare_boot"
    found = [path.relative_to(package).with_suffix("").parts for path in package.rglob("*.py")]
    assert ("items", "join") in found
    for parts in found:
        name = ".".join(parts)
        assert f"`{name.removesuffix('.__init__')}`" in table, name


def test_every_page_is_looked_at() -> None:
    assert len(PAGES) >= 10 and len(CONSOLE) >= 10


@pytest.mark.parametrize("kind", ["pth", "start"])
def test_links_on_the_package_index_lead_somewhere(session: Session, kind: str) -> None:
    """The README is shown there without the files around it."""
    with zipfile.ZipFile(session.wheel(kind)) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        text = wheel.read(name).decode()
    targets = re.findall(r"\]\(([^)#]+)", text)
    assert len(targets) >= 10
    for target in targets:
        repository = "unshare-boot/unshare-boot/"
        if repository in target:
            path = target.partition(repository)[2]
            assert (PROJECT / re.sub(r"^(blob/)?main/", "", path)).exists(), target
        else:
            assert target.startswith("https://"), target
