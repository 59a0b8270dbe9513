"""The two wheels and the sdist: what is in them, who takes which, and every way to install them."""

from __future__ import annotations

import email
import email.message
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

import hatch_build
from harness import Interpreter, Python, Session, User, namespace_inode
from harness.processes import Argument
from harness.session import PROJECT
from unshare_boot import __version__

KINDS = ["pth", "start"]
# The two minor versions on either side of where the .pth import line ends, and some of the future.
MINORS = [*hatch_build.PTH_MINORS, *range(18, 31)]


def expected_kind(minor: int) -> str:
    return "pth" if minor <= 17 else "start"


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.mark.parametrize("kind", KINDS)
def test_a_wheel_holds_the_package_and_one_file_beside_it(session: Session, kind: str) -> None:
    with zipfile.ZipFile(session.wheel(kind)) as archive:
        names = archive.namelist()
    inside = {name for name in names if name.startswith("unshare_boot/")}
    outside = {name for name in names if name.split("/")[0] not in dist_info_and_package()}
    guard = {"unshare_boot_start.py"} if kind == "start" else set()
    assert outside == {f"unshare_boot.{kind}", *guard}
    sources = (PROJECT / "src/unshare_boot").rglob("*")
    assert inside == {
        path.relative_to(PROJECT / "src").as_posix()
        for path in sources
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "unshare_boot/py.typed" in inside


def dist_info_and_package() -> set[str]:
    described = f"unshare_boot-{__version__}"
    return {"unshare_boot", f"{described}.dist-info", f"{described}.data"}


def test_the_pth_file_is_one_import_line(session: Session) -> None:
    with zipfile.ZipFile(session.wheel("pth")) as archive:
        text = archive.read("unshare_boot.pth").decode("ascii")
    # site.py runs the lines that begin with "import" and takes all others for directories.
    assert re.fullmatch(r"import [^\n]+\n?", text)


def test_the_start_file_names_one_function(session: Session) -> None:
    with zipfile.ZipFile(session.wheel("start")) as archive:
        assert archive.read("unshare_boot.start") == b"unshare_boot_start:start\n"


@pytest.mark.parametrize("kind", KINDS)
def test_metadata(session: Session, kind: str) -> None:
    wheel = session.wheel(kind)
    told = metadata(wheel)
    assert told["Name"] == "unshare-boot"
    assert told["Version"] == __version__
    assert told["Requires-Python"] == ">=3.9"
    assert told["License-Expression"] == "MIT"
    required = [Requirement(each) for each in told.get_all("Requires-Dist", [])]
    without_extras = [each for each in required if "extra ==" not in str(each.marker)]
    assert without_extras == []


def test_both_wheels_say_the_same(session: Session) -> None:
    pth, start = (metadata(session.wheel(kind)) for kind in KINDS)
    assert pth.as_bytes() == start.as_bytes()


@pytest.mark.parametrize("minor", MINORS)
def test_each_python_ranks_its_wheel_first(session: Session, minor: int) -> None:
    order = tags_of(minor)
    ranks = {}
    for kind in KINDS:
        *_, tags = parse_wheel_filename(session.wheel(kind).name)
        ranks[kind] = min(order.index(tag) for tag in tags if tag in order)
    assert min(ranks, key=ranks.__getitem__) == expected_kind(minor)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("minor", [9, 14, 15, 17, 18, 30])
@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_each_installer_takes_the_right_wheel(
    session: Session, workdir: Path, pip: list[Argument], installer: str, minor: int
) -> None:
    offer: list[Argument] = ["--no-index", "--no-deps", "--find-links", session.wheel("pth").parent]
    version = ["--python-version", f"3.{minor}", "--only-binary", ":all:"]
    where: list[Argument] = ["--target", workdir / "target", "unshare-boot"]
    if installer == "pip":
        session.tool([*pip, "install", *offer, *version, *where])
    else:
        session.uv("pip", "install", *offer, *version, *where)
    kind = expected_kind(minor)
    assert [path.name for path in workdir.glob("target/unshare_boot.*")] == [f"unshare_boot.{kind}"]


@pytest.mark.parametrize("minor", MINORS)
def test_a_build_from_source_takes_what_fits_the_building_python(minor: int) -> None:
    name, tag = hatch_build.choose("", minor)
    assert name == f"unshare_boot.{expected_kind(minor)}"
    # No other wheel is beside it, so it must fit no Python on which it would do nothing.
    interpreter, abi, platform = tag.split("-")
    tags = {Tag(each, abi, platform) for each in interpreter.split(".")}
    fits = {each for each in MINORS if tags & set(tags_of(each))}
    assert minor in fits
    if name.endswith(".start"):
        assert min(fits) >= 18


def test_a_build_refuses_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="UNSHARE_BOOT_WHEEL is 'zip'"):
        hatch_build.choose("zip", 14)


def tags_of(minor: int) -> list[Tag]:
    version = (3, minor)
    platforms = ["linux_x86_64"]
    return [
        *cpython_tags(version, platforms=platforms),
        *compatible_tags(version, f"cp3{minor}", platforms),
    ]


def test_the_sdist_can_be_built_and_tested(session: Session) -> None:
    with tarfile.open(session.distributions()["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "conftest.py",
        "hatch_build.py",
        "pyproject.toml",
        "scripts/make_dist.py",
        "src/unshare_boot/__init__.py",
        "src/unshare_boot_start.py",
        "tests/harness/__init__.py",
        "unshare_boot.pth",
        "unshare_boot.start",
    }


def test_the_wheel_is_at_work(python: Python) -> None:
    installed = [path.name for path in python.site_packages.glob("unshare_boot.*")]
    assert installed == [f"unshare_boot.{python.kind}"]
    assert isolates(python.user, python.executable)


def test_uv_leaves_nothing_behind(fresh_python: Python, session: Session) -> None:
    session.uv("pip", "uninstall", "--python", fresh_python.executable, "unshare-boot")
    assert_gone(fresh_python.site_packages)
    assert not isolates(fresh_python.user, fresh_python.executable)


Install = Callable[[Session, Path, Path], None]


def pip_install(session: Session, executable: Path, source: Path) -> None:
    session.tool([executable, "-m", "pip", "install", source])


def pip_install_editable(session: Session, executable: Path, source: Path) -> None:
    session.tool([executable, "-m", "pip", "install", "-e", source])


def pip_install_sdist(session: Session, executable: Path, source: Path) -> None:
    session.tool([executable, "-m", "pip", "install", session.distributions()["sdist"]])


def pip_install_wheel(session: Session, executable: Path, source: Path) -> None:
    offer: list[Argument] = ["--no-index", "--find-links", session.wheel("pth").parent]
    session.tool([executable, "-m", "pip", "install", *offer, "unshare-boot"])


def uv_install(session: Session, executable: Path, source: Path) -> None:
    session.uv("pip", "install", "--python", executable, source)


def uv_install_editable(session: Session, executable: Path, source: Path) -> None:
    session.uv("pip", "install", "--python", executable, "-e", source)


WAYS = [
    pip_install,
    pip_install_editable,
    pip_install_sdist,
    pip_install_wheel,
    uv_install,
    uv_install_editable,
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each way on the oldest and on the newest interpreter."""
    if "install" in metafunc.fixturenames:
        each = [(way, which) for way in WAYS for which in ("oldest", "newest")]
        metafunc.parametrize(("install", "which"), each)


@pytest.mark.sampled(2)
def test_every_way_to_install(
    session: Session, workdir: Path, source: Path, install: Install, which: str
) -> None:
    interpreter = session.found[0 if which == "oldest" else -1]
    executable = session.make_venv(interpreter, workdir / "venv", "--seed")
    (site_packages,) = workdir.glob("venv/lib/python*/site-packages")

    install(session, executable, source)
    assert (site_packages / f"unshare_boot.{kind_for(interpreter)}").exists()
    assert isolates(session.user, executable)

    session.tool([executable, "-m", "pip", "uninstall", "--yes", "unshare-boot"])
    assert_gone(site_packages)
    assert not isolates(session.user, executable)


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_install_for_one_user(session: Session, workdir: Path, which: str) -> None:
    interpreter = session.found[0 if which == "oldest" else -1]
    base = session.base(interpreter)
    pip_directory = workdir / "pip"
    session.uv("pip", "install", "--python", base, "--target", pip_directory, "pip")
    kind = kind_for(interpreter)
    home = {"HOME": str(workdir)}

    def pip_as_user(action: str, *arguments: Argument) -> None:
        # Debian calls its interpreters its own; a user's site-packages are not Debian's.
        command = [base, "-m", "pip", action, "--break-system-packages", *arguments]
        session.user.run(command, env={**home, "PYTHONPATH": str(pip_directory)}).ok()

    pip_as_user("install", "--user", "--no-index", session.wheel(kind))
    (site_packages,) = workdir.glob(".local/lib/python*/site-packages")
    assert (site_packages / f"unshare_boot.{kind}").exists()
    assert isolates(session.user, base, **home)

    pip_as_user("uninstall", "--yes", "unshare-boot")
    assert_gone(site_packages)
    assert not isolates(session.user, base, **home)


def kind_for(interpreter: Interpreter) -> str:
    return expected_kind(interpreter.version[1])


def isolates(user: User, executable: Path, **env: str) -> bool:
    """Whether this interpreter's user code finds itself in a network namespace of its own."""
    code = "import os; print(os.stat('/proc/self/ns/net').st_ino)"
    done = user.run([executable, "-c", code], env={"PY_UNSHARE": "user,net", **env})
    return int(done.ok()) != namespace_inode("self", "net")


def assert_gone(site_packages: Path) -> None:
    assert [path.name for path in site_packages.glob("*unshare_boot*")] == []


@pytest.fixture(scope="session")
def source(session: Session) -> Path:
    """A checkout that the ordinary user can read, for editable installs."""
    directory = session.directory / "source"

    def make() -> None:
        ignored = shutil.ignore_patterns(".*", "__pycache__", "dist", "build")
        shutil.copytree(PROJECT, directory, ignore=ignored)

    session.once("source", make)
    return directory


@pytest.fixture(scope="session")
def pip(session: Session) -> list[Argument]:
    """The command line of a pip that is not in an environment under test."""
    directory = session.directory / "pip"
    executable = directory / "bin" / "python"
    interpreter = session.found[-1]
    session.once("pip", lambda: session.make_venv(interpreter, directory, "--seed"))
    return [executable, "-m", "pip"]
