"""docs/reference.md: its commands print what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import Python, require_root, require_tool
from harness.session import PROJECT

TEXT = (PROJECT / "docs" / "reference.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def split(block: str) -> list[tuple[str, str, str]]:
    """The commands of a block: prompt, text, and what it prints."""
    commands: list[tuple[str, str, str]] = []
    for line in block.splitlines():
        if line[:2] in ("$ ", "# "):
            commands.append((line[0], line[2:], ""))
        elif line[:2] == "> ":
            prompt, text, _ = commands[-1]
            commands[-1] = (prompt, f"{text}\n{line[2:]}", "")
        else:
            prompt, text, output = commands[-1]
            commands[-1] = (prompt, text, f"{output}{line}\n")
    return commands


def runs(block: str) -> list[tuple[str, str, str]]:
    """The commands that go to one shell each: those in a row that have the same prompt."""
    joined: list[tuple[str, str, str]] = []
    for prompt, text, output in split(block):
        if joined and joined[-1][0] == prompt:
            _, before, printed = joined[-1]
            joined[-1] = (prompt, f"{before}\n{text}", printed + output)
        else:
            joined.append((prompt, text, output))
    return joined


CASES = [run for block in BLOCKS for run in runs(block)]


@pytest.mark.parametrize(("prompt", "text", "output"), CASES, ids=[case[1] for case in CASES])
def test_it_prints_that(newest: Python, workdir: Path, prompt: str, text: str, output: str) -> None:
    user = newest.user
    script = f'exec 2>&1\nPATH="{newest.executable.parent}:$PATH"\n{text}'
    if "ip " in text:
        require_tool("ip")
    if prompt == "#":
        require_root()
        done = newest.root.run(["sh", "-c", script], cwd=workdir)
    elif "user=auto" in text:
        require_root()
        require_tool("newuidmap")
        granted = "" if "refused" in output else "me:100000:65536\n"
        (workdir / "passwd").write_text(f"me:x:{user.uid}:{user.gid}::/:/bin/sh\n")
        (workdir / "subuid").write_text(granted)
        (workdir / "subgid").write_text(granted)
        outer = f"""
            for name in passwd subuid subgid; do
                mount --bind {workdir}/$name /etc/$name || exit 1
            done
            exec setpriv --reuid {user.uid} --regid {user.gid} --clear-groups sh -c "$1"
        """
        command = ["unshare", "--mount", "sh", "-c", outer, "sh", script]
        done = newest.root.run(command, cwd=workdir)
    else:
        done = user.run(["sh", "-c", script], cwd=workdir)
    assert done.stderr == ""
    assert done.stdout == as_user(output, user.uid, user.gid)


def as_user(output: str, uid: int, gid: int) -> str:
    """The page's 1000 is this user's number; the kernel right-aligns it in a map."""
    output = output.replace("         0       1000 ", f"         0 {uid:>10} ")
    output = output.replace("1000 1000\n", f"{uid} {gid}\n")
    return re.sub(r"^1000 ", f"{uid} ", output.replace("7 1000\n", f"7 {gid}\n"))


def test_every_item_has_its_section() -> None:
    from unshare_boot.spec import READERS

    headings = " ".join(re.findall(r"^##+ .*$", TEXT, re.MULTILINE))
    for item in READERS:
        assert re.search(rf"`{re.escape(item)}[`=]", headings), item


def test_the_page_is_not_empty() -> None:
    assert len(CASES) > 30
