"""Built again, elsewhere, by somebody else and on another day, the released files are the same."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from harness import Session, require_module, require_tool
from harness.processes import Argument
from harness.session import PROJECT
from scripts import check_dist, make_dist

KINDS = ["sdist", "pth", "start"]


def release_files(session: Session) -> list[Path]:
    return [session.distributions()[kind] for kind in KINDS]


def sources() -> list[str]:
    """What belongs to the project here: of a git checkout what git has, of an sdist everything."""
    if not (PROJECT / ".git").exists():
        ignored = shutil.ignore_patterns(".venv*", ".*_cache", ".hypothesis", "__pycache__")
        made = {"dist", "build", "site"}
        files: list[str] = []
        for directory, names, inside in os.walk(PROJECT):
            skipped = ignored(directory, [*names, *inside])
            skipped |= made if Path(directory) == PROJECT else set()
            names[:] = [name for name in names if name not in skipped]
            here = Path(directory).relative_to(PROJECT)
            files += [str(here / name) for name in inside if name not in skipped]
        return [name for name in files if name != "PKG-INFO"]
    options = ["-z", "--cached", "--others", "--exclude-standard"]
    command = ["git", "-C", str(PROJECT), "ls-files", *options]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [name for name in listed.split("\0") if name and (PROJECT / name).is_file()]


def copy_sources(target: Path) -> None:
    for name in sources():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, target / name)


@pytest.fixture(scope="session")
def builder(session: Session) -> Path:
    """A Python that everybody can run, with the build backend that the suite has."""
    directory = session.directory / "builder"
    known = {each.version[:2]: each for each in session.available}
    interpreter = known.get(sys.version_info[:2], session.available[-1])
    versions = [f"{name}=={importlib.metadata.version(name)}" for name in ("hatchling", "build")]

    def make() -> None:
        executable = session.make_venv(interpreter, directory)
        session.uv("pip", "install", "--python", executable, *versions)

    session.once("builder", make)
    return directory / "bin" / "python"


@pytest.fixture(scope="session")
def another_day(session: Session) -> Path:
    """A library that moves the date."""
    library = session.directory / "another_day.so"
    source = PROJECT / "tests" / "programs" / "another_day.c"
    compile_it: list[Argument] = [
        require_tool("gcc"),
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-Werror",
        "-o",
    ]
    session.once("another-day", lambda: session.tool([*compile_it, library, source, "-ldl"]))
    return library


def from_git(session: Session, target: Path) -> None:
    copy_sources(target)


def from_sdist(session: Session, target: Path) -> None:
    with tarfile.open(session.distributions()["sdist"]) as archive:
        for member in archive.getmembers():
            member.name = member.name.partition("/")[2]
            archive.extract(member, target)


@pytest.mark.parametrize("origin", [from_git, from_sdist])
def test_the_bytes_are_the_same(
    session: Session,
    workdir: Path,
    builder: Path,
    another_day: Path,
    origin: Callable[[Session, Path], None],
) -> None:
    source = workdir / "a directory" / "of another name"
    source.mkdir(parents=True)
    origin(session, source)
    for path in source.rglob("*"):
        path.chmod(0o700 if path.is_dir() or path.stat().st_mode & 0o100 else 0o600)
        os.utime(path, (1_234_567_890, 1_234_567_890))
    session.give(workdir)
    env = {
        "LANG": "C",
        "LD_PRELOAD": str(another_day),
        "PYTHONHASHSEED": "7",
        "SOURCE_DATE_EPOCH": "1700000000",
        "TZ": "Pacific/Chatham",
        "XDG_CONFIG_HOME": str(workdir),
    }

    def run(*command: Argument) -> str:
        done = session.user.run(command, env=env, cwd=workdir, umask=0o077, timeout=120)
        return done.ok()

    assert run(builder, "-c", "import time; print(time.localtime().tm_year)") == "2031\n"
    run(builder, source / "scripts/make_dist.py", "--no-isolation", "--outdir", workdir)
    for path in release_files(session):
        assert_same(workdir / path.name, path)


def test_any_front_end_builds_the_same(session: Session, workdir: Path, builder: Path) -> None:
    """`python -m build`, without our script, and so pip and uv too."""
    from_sdist(session, workdir)
    session.give(workdir)
    for option in ("--sdist", "--wheel"):
        command: list[Argument] = [
            builder,
            "-m",
            "build",
            "--no-isolation",
            option,
            "--outdir",
            workdir,
            workdir,
        ]
        session.user.run(command, cwd=workdir, timeout=120).ok()
    (wheel,) = workdir.glob("*.whl")
    assert_same(wheel, session.wheel(check_dist.kind_of(wheel)))
    (sdist,) = workdir.glob("*.tar.gz")
    assert_same(sdist, session.distributions()["sdist"])


def assert_same(path: Path, other: Path) -> None:
    assert check_dist.differences(path, other) == []
    # zlib-ng packs otherwise, and who builds here may have it where the suite does not.
    if "zlib-ng" not in zlib.ZLIB_RUNTIME_VERSION:
        assert path.read_bytes() == other.read_bytes()


def test_a_release_is_built_by_pinned_tools(session: Session, workdir: Path) -> None:
    """As the release workflow does it; each file that is installed for it is known by its hash."""
    if sys.version_info < (3, 11):
        pytest.skip("a release is built by Python 3.11 or later")
    session.tool([sys.executable, PROJECT / "scripts/make_dist.py", "--outdir", workdir])
    (version,) = (
        line.partition("==")[2].split()[0] for line in pins() if line.startswith("hatchling==")
    )
    for path in release_files(session):
        built = workdir / path.name
        assert check_dist.check(built) == []
        if zipfile.is_zipfile(built):
            (name,) = (each for each in check_dist.read(built)[0] if each.endswith("/WHEEL"))
            assert f"hatchling {version}\n" in check_dist.read(built)[0][name].data.decode()
        if version == importlib.metadata.version("hatchling"):
            assert_same(built, path)


def pins() -> list[str]:
    return make_dist.pinned(make_dist.PINNED.read_text())


def test_every_tool_is_pinned_by_hash() -> None:
    for line in pins():
        requirement, _, digest = line.partition(" --hash=sha256:")
        (specifier,) = Requirement(requirement).specifier
        assert specifier.operator == "==" and len(digest) == 64, line


def test_a_released_file_is_as_it_should_be(session: Session) -> None:
    for path in release_files(session):
        assert check_dist.check(path) == []


def test_the_line_is_in_three_places() -> None:
    """The file, the list that a release is compared with, and the page to compare with."""
    hook = (PROJECT / "unshare_boot.pth").read_text()
    assert check_dist.read_contents().hooks[0] == hook.rstrip("\n")
    assert hook in (PROJECT / "docs" / "verify.md").read_text()


@pytest.fixture
def wheel(session: Session, tmp_path: Path) -> Path:
    """A copy of the .pth wheel, to be tampered with."""
    return Path(shutil.copy(session.wheel("pth"), tmp_path))


def test_a_file_too_many_is_found(wheel: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("evil.pth", "import evil\n")
    found = check_dist.check(wheel)
    assert "evil.pth is not in the list" in found
    assert "RECORD is not that of the files" in found


def test_another_line_is_found(wheel: Path, session: Session) -> None:
    with zipfile.ZipFile(session.wheel("pth")) as old, zipfile.ZipFile(wheel, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info, data + b"#" if info.filename == "unshare_boot.pth" else data)
    assert "unshare_boot.pth is not the line in contents.txt" in check_dist.check(wheel)
    found = check_dist.differences(wheel, session.wheel("pth"))
    assert found == [f"unshare_boot.pth is not what it is in {session.wheel('pth')}"]


def test_a_commit_is_compared_with_byte_by_byte(session: Session, tmp_path: Path) -> None:
    """As the release workflow does: check_dist.py --commit TAG."""
    copy_sources(tmp_path)

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=me", "-c", "user.email=me@localhost", "-c", "commit.gpgsign=false"]
        session.tool([require_tool("git"), "-C", tmp_path, *who, *arguments])

    git("init", "-q")
    git("add", "--all", "--force")
    git("commit", "-q", "-m", "release")
    check: list[Argument] = [
        sys.executable,
        tmp_path / "scripts" / "check_dist.py",
        "--commit",
        "HEAD",
    ]
    assert session.tool([*check, *release_files(session)]).count("as it should be") == 3
    with open(tmp_path / "src/unshare_boot/report.py", "a") as file:
        file.write("# one line more\n")
    git("commit", "-q", "-a", "-m", "another")
    with pytest.raises(RuntimeError, match=r"src/unshare_boot/report\.py is not what it is in the"):
        session.tool([*check, *release_files(session)])


def test_the_index_and_others_are_content(session: Session) -> None:
    require_module("twine")
    require_module("check_wheel_contents")
    files: list[Argument] = [*release_files(session)]
    session.tool([sys.executable, "-m", "twine", "check", "--strict", *files])
    config: list[Argument] = ["--config", PROJECT / "pyproject.toml"]
    session.tool([sys.executable, "-m", "check_wheel_contents", *config, *files[1:]])
