"""The manual pages and the completions: made of the rows, understood by man and by real shells."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from harness import Python, Session, require_tool
from harness.session import PROJECT
from scripts import facts, make_share, manual
from unshare_boot.language import ITEMS, alternatives, parse

SHARE = PROJECT / "share"
FILES = make_share.files()
PAGES = [name for name in FILES if name.startswith("man/")]

# Prints what a command line has become, so that the completed one can be read.
SHOW = "unshare-boot() { printf '<%s>' \"$@\"; echo; }"


@pytest.mark.parametrize("name", FILES)
def test_it_is_made_of_the_rows(name: str) -> None:
    made = (SHARE / name).read_text()
    assert made == FILES[name], "python -m scripts.make_share writes it anew"


def test_nothing_else_is_there() -> None:
    found = {path.relative_to(SHARE).as_posix() for path in SHARE.rglob("*") if path.is_file()}
    assert found == set(FILES)


@pytest.mark.parametrize("name", PAGES)
def test_man_shows_it(session: Session, name: str) -> None:
    environment = {"MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    shown = session.tool([require_tool("man"), "--warnings", "-l", SHARE / name], **environment)
    assert "warning" not in shown
    text = re.sub(r".\x08", "", shown)
    assert "NAME" in text and "SEE ALSO" in text


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_nothing_to_say(session: Session, name: str) -> None:
    session.tool([require_tool("mandoc"), "-T", "lint", "-W", "warning", SHARE / name])


def test_every_item_is_in_the_manual() -> None:
    page = FILES["man/man7/PY_UNSHARE.7"].replace("\\-", "-")
    for name in ITEMS:
        assert f"\\fB{name}" in page
    for name, _ in facts.variables():
        assert f"\\fB{name}" in page
    assert len(facts.variables()) == 5


@pytest.mark.parametrize("command", [command for _, command in manual.EXAMPLES])
def test_the_lists_of_the_examples_are_understood(command: str) -> None:
    (text,) = re.findall(r"PY_UNSHARE=(\S+)|run (\S+)", command)
    for each in alternatives("".join(text)):
        assert parse(each) is not None


def test_the_wheel_puts_them_where_man_looks(newest: Python) -> None:
    """man(1) looks beside the directories of PATH: manpath(1)."""
    for name in FILES:
        assert (newest.venv / "share" / name).read_text() == FILES[name]
    require_tool("man")
    for page in ("unshare-boot", "PY_UNSHARE"):
        path = f"{newest.venv}/bin:/usr/bin:/bin"
        found = newest.user.run(["man", "--path", page], env={"PATH": path})
        if found.status != 0:  # Debian's older ones
            found = newest.user.run(["man", "-w", page], env={"PATH": path})
        assert found.ok().startswith(str(newest.venv))


# What is typed, and what it has become after a tab. `/` at the end of a directory is the shell's.
TYPED = [
    ("chec", "<check>"),
    ("check user,ne", "<check><user,net>"),
    ("check user,tm", "<check><user,tmpfs=>"),
    ("check user,net=ga", "<check><user,net=gate>"),
    ("check user,mount=sh", "<check><user,mount=shared>"),
    ("run off", "<run><offline>"),
    ("check user,overlay=wo", "<check><user,overlay=work>"),
    ("allow rec", "<allow><record.json>"),
    ("where whic", "<where><which>"),
    ("run user -- ech", "<run><user><--><echo>"),
    ("check --js", "<check><--json>"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "record.json").touch()
    return tmp_path


def complete(shell: pexpect.spawn[str], typed: str) -> str:
    """Type a command line and a tab, and return the words that it has then."""
    shell.send(f"unshare-boot {typed}\t")
    shell.expect_exact("unshare-boot")
    shell.send("\r")
    shell.expect(r"(<[^\r\n]*>)\r*\n")
    assert isinstance(shell.match, re.Match)
    return str(shell.match[1]).replace("work/", "work")


@pytest.fixture
def bash(place: Path) -> Iterator[pexpect.spawn[str]]:
    environment = {"PATH": "/usr/bin:/bin", "TERM": "dumb", "HOME": str(place), "PS1": "> "}
    options = ["--norc", "--noprofile", "-i"]
    with pexpect.spawn(
        require_tool("bash"), options, cwd=place, env=environment, encoding="utf-8", timeout=30
    ) as shell:
        shell.sendline("bind 'set enable-bracketed-paste off'")
        shell.sendline(f". {shlex.quote(str(SHARE))}/bash-completion/completions/unshare-boot")
        shell.sendline(f"{SHOW}; echo rea''dy")
        shell.expect_exact("ready")
        yield shell


@pytest.mark.parametrize(("typed", "words"), TYPED)
def test_bash_completes(bash: pexpect.spawn[str], typed: str, words: str) -> None:
    assert complete(bash, typed) == words


@pytest.fixture
def zsh(place: Path) -> Iterator[pexpect.spawn[str]]:
    environment = {"PATH": "/usr/bin:/bin", "TERM": "dumb", "HOME": str(place)}
    with pexpect.spawn(
        require_tool("zsh"), ["-f", "-i"], cwd=place, env=environment, encoding="utf-8", timeout=30
    ) as shell:
        shell.sendline(f"fpath=({shlex.quote(str(SHARE))}/zsh/site-functions $fpath)")
        shell.sendline(f"autoload -U compinit && compinit -u; {SHOW}; echo rea''dy")
        shell.expect_exact("ready")
        yield shell


@pytest.mark.parametrize(("typed", "words"), TYPED)
def test_zsh_completes(zsh: pexpect.spawn[str], typed: str, words: str) -> None:
    assert complete(zsh, typed) == words


@pytest.mark.parametrize(("typed", "words"), TYPED)
def test_fish_completes(session: Session, place: Path, typed: str, words: str) -> None:
    source = SHARE / "fish/vendor_completions.d/unshare-boot.fish"
    fish = f"cd {place}; source {source}; complete --do-complete 'unshare-boot {typed}'"
    offered = session.tool([require_tool("fish"), "--no-config", "-c", fish]).splitlines()
    wanted = re.findall(r"<([^>]*)>", words)[-1]
    found = [line.partition("\t")[0].rstrip("/") for line in offered]
    assert wanted in found
