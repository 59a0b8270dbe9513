"""Check what make_dist.py has built, or what a package index has: check_dist.py FILE...

Every wheel and sdist must hold what contents.txt lists and nothing else: the same names, the hook
letter for letter, ordinary files with the permissions and the time that make_dist.py gives them, a
RECORD that is right. More is compared on demand:

    --commit v1.0.0    also each byte with that commit, of the git repository around this file
    --against DIR      also with the files of the same names there, which you have built yourself
    --write            write the names into contents.txt instead, for a look at `git diff`

Nothing but the standard library is needed, and nothing of the files is run.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CONTENTS = ROOT / "scripts" / "contents.txt"
STAMP = (2020, 2, 2, 0, 0, 0)  # make_dist.py's, as a zip file has it
STAMP_SECONDS = 1580601600
VERSION = "VERSION"  # stands for the version in contents.txt


class Member(NamedTuple):
    """One file of a distribution, or of a commit."""

    data: bytes
    ordinary: bool


class Contents(NamedTuple):
    """contents.txt, by its headings."""

    wheel: list[str]
    pth: list[str]
    start: list[str]
    sdist: list[str]
    hooks: list[str]


def main() -> int:
    """Check all that is named; print what is wrong, or what was right."""
    parser = argparse.ArgumentParser(description="Check wheels and source distributions.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--commit", help="compare with this commit too, such as a tag")
    parser.add_argument("--against", type=Path, metavar="DIR", help="compare with one's own, too")
    parser.add_argument("--write", action="store_true", help="write the list instead")
    given = parser.parse_args()
    if given.write:
        write(given.files)
        return 0
    commit = of_commit(given.commit) if given.commit else None
    wrong = False
    for path in given.files:
        found = check(path, commit)
        if given.against:
            found += differences(path, given.against / path.name)
        for problem in found:
            print(f"{path.name}: {problem}", file=sys.stderr)
        if not found:
            print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}: as it should be")
        wrong = wrong or bool(found)
    return int(wrong)


def check(path: Path, commit: dict[str, Member] | None = None) -> list[str]:
    """What is wrong with a distribution.

    Args:
        path: a wheel or an sdist.
        commit: the files to compare with, see of_commit().

    Returns:
        A sentence for each; none for a file that is as it should be.
    """
    told = read_contents()
    members, problems = read(path)
    kind = kind_of(path)
    if kind == "sdist":
        problems += unexpected(listed(members), set(told.sdist))
    else:
        own = told.pth if kind == "pth" else told.start
        problems += unexpected(unversioned(path, members), {*told.wheel, *own})
        problems += record_problems(path, members)
    problems += hook_problems(members, told.hooks)
    return problems + (commit_problems(kind, members, commit) if commit is not None else [])


def differences(path: Path, other: Path) -> list[str]:
    """How a file differs from one that was built elsewhere; compression alone is not told.

    A Python whose zlib is zlib-ng packs the same contents into other bytes.
    """
    if path.read_bytes() == other.read_bytes():
        return []
    here, there = (read(each)[0] for each in (path, other))
    if list(here) == list(there) and here == there:
        print(f"{path.name}: the same contents as {other}, in the same order, packed differently")
        return []
    names = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
    return [f"{name} is not what it is in {other}" for name in names] or ["other order of files"]


def kind_of(path: Path) -> str:
    """What a file is by its name: "sdist", "pth" or "start"."""
    if path.name.endswith(".tar.gz"):
        return "sdist"
    return "pth" if path.name.split("-")[2].startswith("py39.") else "start"


def read(path: Path) -> tuple[dict[str, Member], list[str]]:
    """The files of a distribution by name, without an sdist's own directory, and what is odd."""
    members: dict[str, Member] = {}
    problems: list[str] = []
    for name, member, time_is_right in read_zip(path) if zipped(path) else read_tar(path):
        if name in members:
            problems.append(f"{name} is there twice")
        if not member.ordinary:
            problems.append(f"{name} is no ordinary file, or has odd permissions")
        if not time_is_right:
            problems.append(f"{name} has another time than 2020-02-02")
        members[name] = member
    return members, problems


def zipped(path: Path) -> bool:
    """Whether it is a wheel."""
    return path.suffix == ".whl"


def read_zip(path: Path) -> Iterable[tuple[str, Member, bool]]:
    """The members of a wheel; nothing in it needs to be executable."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16  # what describes the wheel is written without a type
            ordinary = mode in (stat.S_IFREG | 0o644, 0o644)
            yield info.filename, Member(archive.read(info), ordinary), info.date_time == STAMP


def read_tar(path: Path) -> Iterable[tuple[str, Member, bool]]:
    """The members of an sdist, without its own directory."""
    top = path.name[: -len(".tar.gz")]
    with tarfile.open(path) as archive:
        for info in archive.getmembers():
            file = archive.extractfile(info) if info.isfile() else None
            ordinary = file is not None and info.mode in (0o644, 0o755) and not info.uid
            name = info.name[len(top) + 1 :] if info.name.startswith(f"{top}/") else info.name
            data = file.read() if file else b""
            yield name, Member(data, ordinary), info.mtime == STAMP_SECONDS


def unexpected(found: set[str], expected: set[str]) -> list[str]:
    """Compare names."""
    return [f"{name} is not in the list" for name in sorted(found - expected)] + [
        f"{name} is missing" for name in sorted(expected - found)
    ]


def unversioned(path: Path, names: Iterable[str]) -> set[str]:
    """A wheel's names as contents.txt has them."""
    version = path.name.split("-")[1]
    return {name.replace(f"-{version}.", f"-{VERSION}.") for name in names}


def listed(names: Iterable[str]) -> set[str]:
    """An sdist's names as contents.txt has them: directories stand for all that is below them."""
    return {f"{name.split('/')[0]}/" if "/" in name else name for name in names}


def hook_problems(members: dict[str, Member], hooks: list[str]) -> list[str]:
    """The one line that every start runs has to be the one that contents.txt shows."""
    return [
        f"{name} is not the line in contents.txt"
        for name, line in zip(("unshare_boot.pth", "unshare_boot.start"), hooks)
        if name in members and members[name].data != f"{line}\n".encode()
    ]


def record_problems(path: Path, members: dict[str, Member]) -> list[str]:
    """RECORD is what installers compare with, and what names the files to remove again."""
    (record,) = (name for name in members if name.endswith(".dist-info/RECORD"))
    rows = [f"{record},,"]
    for name, member in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(member.data).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={digest},{len(member.data)}")
    said = members[record].data.decode().splitlines()
    rows = [row for row in rows if not row.startswith(f"{record},sha256")]
    return [] if sorted(said) == sorted(rows) else ["RECORD is not that of the files"]


def of_commit(commit: str) -> dict[str, Member]:
    """The files of a commit by name.

    Raises:
        subprocess.CalledProcessError: there is no such commit, or no git repository.
    """
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    packed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    files = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for info in archive.getmembers():
            file = archive.extractfile(info) if info.isfile() else None
            if file:
                files[info.name] = Member(file.read(), ordinary=True)
    return files


def commit_problems(kind: str, members: dict[str, Member], commit: dict[str, Member]) -> list[str]:
    """Compare with a commit: an sdist as a whole, a wheel but for what describes it."""
    sources = {
        name: member
        for name, member in members.items()
        if name != "PKG-INFO" and ".dist-info/" not in name
    }
    if kind == "sdist":
        problems = unexpected(set(sources), set(commit))
    else:
        problems = []
        sources = {source_of(name): member for name, member in sources.items()}
    return problems + [
        f"{name} is not what it is in the commit"
        for name, member in sources.items()
        if name not in commit or member.data != commit[name].data
    ]


def source_of(name: str) -> str:
    """Where a wheel's file is in the repository."""
    inside = name.startswith("unshare_boot/") or name == "unshare_boot_start.py"
    return f"src/{name}" if inside else name.rpartition(".data/data/")[2]


def read_contents() -> Contents:
    """Read contents.txt."""
    sections: dict[str, list[str]] = {}
    for line in CONTENTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            current.append(line)
    return Contents(**sections)


def write(paths: Iterable[Path]) -> None:
    """Write the names of these files into contents.txt, and leave the hooks as they are."""
    hooks = read_contents().hooks
    names = {}
    for path in paths:
        members = read(path)[0]
        kind = kind_of(path)
        names[kind] = listed(members) if kind == "sdist" else unversioned(path, members)
    common = names["pth"] & names["start"]
    sections = {
        "wheel": sorted(common),
        "pth": sorted(names["pth"] - common),
        "start": sorted(names["start"] - common),
        "sdist": sorted(names["sdist"]),
        "hooks": hooks,
    }
    comment = CONTENTS.read_text(encoding="utf-8").partition("\n[")[0]
    parts = ["\n".join([f"[{name}]", *lines]) for name, lines in sections.items()]
    CONTENTS.write_text("\n\n".join([comment.rstrip("\n"), *parts]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
