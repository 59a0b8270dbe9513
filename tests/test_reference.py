"""docs/reference.md: its commands print what it says."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from harness import Python, require_root, require_tool
from harness.console import Command, as_user, blocks, commands, run
from harness.session import PROJECT

PAGE = PROJECT / "docs" / "reference.md"
TEXT = PAGE.read_text()
BLOCKS = [block.text for block in blocks(PAGE) if block.language == "console" and not block.reason]
CASES = [command for block in BLOCKS for command in commands(block)]


@pytest.mark.parametrize("command", CASES, ids=[case.text for case in CASES])
def test_it_prints_that(newest: Python, workdir: Path, command: Command) -> None:
    user, path, text, output = newest.user, newest.executable.parent, command.text, command.output
    if "ip " in text:
        require_tool("ip")
    if command.prompt == "#":
        require_root()
        if "ip netns" in text:  # its names are the machine's
            aside = f"mkdir -p /run/netns && mount -t tmpfs x /run/netns || exit\n{text}"
            text = f"unshare --mount sh -c {shlex.quote(aside)}"
        done = run(replace(command, text=text), newest.root, path, workdir)
    elif "slirp4netns" in text:
        require_root()
        require_tool("slirp4netns")
        if not Path("/dev/net/tun").exists():
            pytest.skip("needs /dev/net/tun")
        # Everybody's, as it is on ordinary systems, and not on all that tests run on.
        outer = f"""
            mknod --mode 666 {workdir}/tun c 10 200 && mount --bind {workdir}/tun /dev/net/tun &&
            exec setpriv --reuid {user.uid} --regid {user.gid} --clear-groups sh -c "$1"
        """
        as_me = f'exec 2>&1\nPATH="{path}:$PATH"\n{text}'
        done = newest.root.run(["unshare", "--mount", "sh", "-c", outer, "sh", as_me], cwd=workdir)
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
        as_me = f'exec 2>&1\nPATH="{path}:$PATH"\n{text}'
        done = newest.root.run(["unshare", "--mount", "sh", "-c", outer, "sh", as_me], cwd=workdir)
    else:
        done = run(command, user, path, workdir)
    assert done.stderr == ""
    assert done.stdout == as_user(output, user.uid, user.gid)


def test_every_item_has_its_section() -> None:
    from unshare_boot.language import ITEMS

    headings = " ".join(re.findall(r"^##+ .*$", TEXT, re.MULTILINE))
    for item in ITEMS:
        assert re.search(rf"`{re.escape(item)}[`=]", headings), item


def test_the_page_is_not_empty() -> None:
    assert len(CASES) > 30
