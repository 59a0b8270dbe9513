"""Engines, options and lists; what comes of each; and the page of that, docs/hosts.md."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from harness import Python
from hosts.cures import Taken, ways
from hosts.machines import NAMES
from unshare_boot.refusal.pages import page_of

WRITE = os.environ.get("UNSHARE_BOOT_WRITE_HOSTS") == "1"
PAGE = Path(__file__).parent.parent / "docs" / "hosts.md"
ENGINES = (
    *("Docker", "Podman", "Podman without root", "containerd", "Kubernetes", "crun", "runc"),
    *("systemd-nspawn", "LXC", "bwrap"),
    *NAMES.values(),
)

LISTS = [
    *("user,net", "net", "offline", "user,mount,ipc,cgroup,time", "user,uts=box", "uts=box"),
    *("user,pid", "pid", "user,pid,proc=keep", "user,net,sys", "user,ro=/usr", "user,overlay=/usr"),
    *("user,net=gate", "net=gate", "net=down", "sockets=unix", "offline|sockets=unix"),
]

# Where a list more would say nothing new.
FEW = [
    *("user,net", "net", "user,uts=box", "user,pid", "pid", "user,net,sys", "user,overlay=/usr"),
    *("net=gate", "sockets=unix"),
]

# Starts each list in a child, and as often says what came of it: by itself, by check, and by warn.
STARTS = """
import json, os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
CODE = "import unshare_boot; print(*unshare_boot.active())"
def start(unshare, *command, **more):
    env = {**os.environ, **more}
    if unshare:
        env["PY_UNSHARE"] = unshare
    done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr
everything = sys.argv[1] == "all"
def found(unshare):
    status, stdout, stderr = start(unshare, "-c", CODE)
    said = dict(line.strip().split(": ", 1) for line in stderr.splitlines()[1:])
    told = {key.strip(): value.strip() for key, value in said.items()}
    found = {"status": status, "active": stdout.split(), "told": told}
    if everything:
        checked = start("", "-m", "unshare_boot", "check", "--json", unshare)
        found["checked"] = json.loads(checked[1])
        warned = start(unshare, "-c", CODE, PY_UNSHARE_ON_ERROR="warn")
        found["warned"] = [warned[0], warned[1].split(), bool(warned[2])]
    return json.dumps(found)
with ThreadPoolExecutor(3) as pool:
    print(*pool.map(found, sys.argv[2:]), sep="\\n", flush=True)
"""

APART = ("--security-opt", "--volume", "--device")  # options with a value of their own

Run = Callable[..., "Sequence[str]"]


@dataclass
class Cell:
    """What came of one list with one engine's options.

    Attributes:
        works: it was entered.
        cause: the heading on a page of troubleshooting, where it was refused.
        proved: how many ways out of its cure were taken.
    """

    works: bool
    cause: str = ""
    proved: int = 0


def record(engine: str, options: Sequence[str], cells: dict[str, Cell]) -> None:
    """Compare a row with the page's, or put it there where the page is to be written."""
    row = engine, code(" ".join(options))
    if not WRITE:
        assert outcomes()[row] == outcome(cells)
        return
    with FileLock(Path(tempfile.gettempdir(), "unshare-boot-hosts.lock")):
        PAGE.write_text(page({**outcomes(), row: outcome(cells)}), encoding="utf-8")


def page(rows: dict[tuple[str, str], str]) -> str:
    """The page, of what `outcomes` returns."""
    lines = [*HEAD.strip().splitlines(), ""]
    for name in sorted({name for name, _ in rows}, key=ENGINES.index):
        lines += [f"## {name}", "", "| options | works | refused |", "|---|---|---|"]
        alike: dict[str, list[str]] = {}
        for (engine, options), what in rows.items():
            if engine == name:
                alike.setdefault(what, []).append(options)
        lines += [f"| {'; '.join(several)} | {what} |" for what, several in alike.items()]
        lines.append("")
    return "\n".join(lines)


def outcomes() -> dict[tuple[str, str], str]:
    """What the page says: by engine and options, the rest of the row."""
    found: dict[tuple[str, str], str] = {}
    engine = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            engine = line[3:]
        elif line.startswith("| ") and engine and not line.startswith("| options"):
            several, _, rest = line[2:-2].partition(" | ")
            found |= {(engine, options): rest for options in several.split("; ")}
    return found


def outcome(cells: dict[str, Cell]) -> str:
    """What came of the lists, as the page has it."""
    return f"{_works(cells)} | {_refused(cells)}"


def code(options: str) -> str:
    """An engine's options, as the page has them."""
    return f"`{options}`" if options else "none"


HEAD = """
# Hosts

What comes of a list in real containers and sandboxes: with the options in the first column, as root
of the container where no user is named, and under the engine's default profile where none is.
`python -m pytest hosts` makes this table. It takes each refusal at its word: every way out that the
cure names is taken, as printed, and the list works then. In parentheses is how many ways there
are. `unshare-boot check` and `PY_UNSHARE_ON_ERROR=warn` agree with the real start in each of them.

The host has Linux 6.18 and no AppArmor; the engines are those of Debian 12. containerd is started
by ctr(8), which sets no_new_privs; with a token, as Kubernetes gives one, the cure speaks of that.
Options of runc and crun are edits of what `runc spec` writes, those of LXC lines of its
configuration.

Other kernels are those of Debian, in machines of QEMU (`python -m pytest hosts --kernels`): the
first column has what was switched off or used up there, or who starts a list where nothing was.
AppArmor's profiles are Debian's `unprivileged_userns` and `lab`, which allows no namespaces;
SELinux has a policy of the lab's own, which refuses user namespaces and nothing else.
"""


def _works(cells: dict[str, Cell]) -> str:
    return ", ".join(_listed(name) for name, cell in cells.items() if cell.works) or "none"


def _listed(unshare: str) -> str:
    return f"`{unshare}`".replace("|", "\\|")


def _link(cause: str) -> str:
    return f"{page_of(cause)[len('docs/') :]}#{cause}"


def _refused(cells: dict[str, Cell]) -> str:
    causes: dict[str, list[str]] = {}
    for name, cell in cells.items():
        if not cell.works:
            causes.setdefault(cell.cause, []).append(f"{_listed(name)} ({cell.proved})")
    parts = [
        f"[{cause.replace('-', ' ')}]({_link(cause)}): {', '.join(names)}"
        for cause, names in causes.items()
    ]
    return "; ".join(parts) or "nothing"


def examine(
    run: Run,
    python: Python,
    options: Sequence[str],
    lists: Sequence[str] = LISTS,
    taken: Taken = (),
) -> dict[str, Cell]:
    """Try every list, take every refusal at its word, and return what came of each.

    Args:
        run: runs a command with an engine's options, and returns the lines of its output.
        python: the interpreter.
        options: of the engine.
        lists: what to try.
        taken: what the engine's cures say.
    """
    found = dict(zip(lists, started(run, python, options, lists, "all")))
    cells = {}
    cures: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for unshare, each in found.items():
        _agrees(unshare, each)
        cells[unshare] = Cell(each["status"] == 0)
        if each["status"]:
            cells[unshare].cause = cause_of(each)
            for way in ways(each["told"]["cure"], unshare, taken):
                cures.setdefault(applied(options, way.options), []).append((unshare, way.unshare))
    for more, tried in cures.items():
        outcomes = started(run, python, more, [cure for _, cure in tried], "once")
        for (unshare, cure), each in zip(tried, outcomes):
            said = f"{unshare} became {cure} with {more}: {each['told']}"
            assert each["status"] == 0, said
            cells[unshare].proved += 1
    for unshare, cell in cells.items():
        assert cell.works or cell.proved, f"no way out for {unshare}: {found[unshare]['told']}"
    return cells


def started(
    run: Run, python: Python, options: Sequence[str], lists: Sequence[str], how: str
) -> Iterator[dict]:  # type: ignore[type-arg]
    """Start each of the lists in one container."""
    lines = run([*python.command(STARTS), how, *lists], *options)
    assert len(lines) == len(lists), lines
    return map(json.loads, lines)


def applied(options: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """Return options with those of a cure; what they say of one thing, they say once."""
    before = ("", *more)
    left_out = tuple(word for last, word in zip(before, more) if last == "without")
    more = [word for last, word in zip(before, more) if "without" not in (last, word)]
    options = [each for each in options if not left_out or not each.startswith(left_out)]
    words = iter(more)
    pairs = [f"{each} {next(words)}" if each in APART else each for each in words]
    names = {pair.partition("=")[0] for pair in pairs} - {"--cap-add", "--volume /sys:/sys"}
    kept = [each for each in options if each.partition("=")[0] not in names]
    return tuple(dict.fromkeys([*kept, *pairs]))


def cause_of(each: dict) -> str:  # type: ignore[type-arg]
    """The heading that a refusal names; the last of it names what is in the way, not a page."""
    cause: str = each["told"].get("more", "").partition("#")[2]
    assert cause, each
    return cause


def _agrees(unshare: str, each: dict) -> None:  # type: ignore[type-arg]
    works = each["status"] == 0
    assert each["status"] in (0, 125), (unshare, each)
    assert each["checked"]["works"] is works, (unshare, each)
    status, active, said = each["warned"]
    assert (status, said) == (0, not works), (unshare, each)
    assert active == (each["active"] if works else []), (unshare, each)
    assert works or each["checked"]["cause"] == cause_of(each), (unshare, each)
