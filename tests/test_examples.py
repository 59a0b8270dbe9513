"""The example programs print what they are said to print."""

from __future__ import annotations

import pytest

from harness import Python, require_tool
from harness.session import PROJECT

TOLD = {
    ("port80.py", "user,net"): """\
uid 0, gid 0
listening on 127.0.0.1:80
hello from port 80
""",
    ("offline.py", "user,net"): """\
interfaces: ['lo']
connect: Network is unreachable
getaddrinfo: no answer
git: failed
""",
    ("own_id_map.py", "user=none"): "uid 1000, gid 1000\n",
    ("program_of_its_own.py", None): """\
active: user, net, uts
hostname: sandbox
uid inside: 0
interfaces: ['lo']
""",
}


@pytest.mark.parametrize(("name", "unshare"), TOLD)
def test_example(python: Python, name: str, unshare: str | None) -> None:
    require_tool("git")
    text = (PROJECT / "examples" / name).read_text()  # the user may not read the checkout
    assert python.run(["-c", text], unshare=unshare).ok() == TOLD[name, unshare]


@pytest.mark.parametrize("name", ["port80.py", "offline.py"])
def test_the_readme_quotes_what_it_prints(name: str) -> None:
    quoted = f"$ PY_UNSHARE=user,net python examples/{name}\n{TOLD[name, 'user,net']}```"
    assert quoted in (PROJECT / "README.md").read_text()


def test_every_example_is_run() -> None:
    assert {path.name for path in (PROJECT / "examples").glob("*.py")} == {name for name, _ in TOLD}
