"""Bytes of the environment: through atheris, guided by coverage, and in real environments."""

from __future__ import annotations

import fnmatch
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from harness import FILES, Python, namespaces, require_module
from harness.session import PROJECT
from proof.chance import examples
from proof.conftest import Tally, Watch
from proof.grammar import FORMS, NAMESPACES, Meaning, Wrong, understand
from proof.judge import check_refusal, good_to_print
from proof.lists import SAMPLES, disturbed, heaps, right_lists

CI_RUNS, FULL_RUNS = 15_000, 1_000_000
CI_STARTS, FULL_STARTS = 200, 4_000

# What libFuzzer puts together: names, words, signs, and what only some variables have.
_SPELT = """
root current auto all none lo down pasta slirp4netns private slave shared unchanged allow deny fresh
keep tcp udp off no false warn abort /proc/self/ns/net [::1]: fd00:: 4294967294 4294967295 65535
65536 4611686018 10.0.0.1/8 +1d -0.5 , = : / \\, \\: \\\\ \\ @ * ? [a-z] [z-a] [! -m -c ' " ² ٣
"""
WORDS = [*FORMS, *_SPELT.split(), *"\0 \t\x1b\u2028\u202e", "=started-over "]
SEEDS = [
    *(sample.encode() for sample in SAMPLES),
    b"user,net\0pytest,*.py,[!a]?\0warn\0--no-map-gw 'a b' \"c\"\0@\0001\0-m pytest",
    b"user\0a*\0abort\0\\ -x\0net=1,@,user=\0\0/usr/bin/a.py/",
    b"@ 0 python\0\0\0\0@",
    b"1 1 comm\0,\0\0'\0@\0\0-Xa -Wb -Im x",
    b"\xff\xfe,user=\xc3\0\xe4\xb8\0\xf0",
]


def test_guided_by_coverage(full: bool, tally: Tally, tmp_path: Path) -> None:
    """Whatever the bytes, nothing is raised but a refusal, and all is as the grammar has it."""
    require_module("atheris")
    for name in ("corpus", "seeds"):
        (tmp_path / name).mkdir()
    for number, data in enumerate(SEEDS):
        (tmp_path / "seeds" / str(number)).write_bytes(data)
    entries = ["".join(f"\\x{byte:02x}" for byte in word.encode()) for word in WORDS]
    (tmp_path / "dictionary").write_text("".join(f'"{entry}"\n' for entry in entries))
    runs, seed = (FULL_RUNS if full else CI_RUNS), random.getrandbits(31)
    options = {
        "runs": runs,
        "seed": seed,
        "max_len": 600,
        "dict": tmp_path / "dictionary",
        "artifact_prefix": f"{tmp_path}/",
        "rss_limit_mb": 4096,
        "timeout": 60,
    }
    command = [sys.executable, "-m", "proof.fuzz_target", "corpus", "seeds"]
    done = subprocess.run(
        [*command, *(f"-{name}={value}" for name, value in options.items())],
        env={
            "PYTHONPATH": os.pathsep.join(map(str, (PROJECT / "src", PROJECT / "tests", PROJECT)))
        },
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
    )
    found = [path.read_bytes() for path in tmp_path.glob("crash-*")]
    assert done.returncode == 0, f"{found}\n{done.stdout[-10_000:]}"
    end = re.search(r"^#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)", done.stdout, re.MULTILINE)
    assert end and int(end[1]) >= runs, done.stdout[-2000:]
    assert int(end[2]) > 300, "nothing was instrumented"
    tally.case(count=int(end[1]))
    tally.notes["atheris"] = (
        f"{int(end[1]):,} executions, {end[2]} edges and {end[3]} features covered by a corpus of "
        f"{end[4]}, -seed={seed}"
    )


# Real environments.

# How Python decodes the environment: as UTF-8, or where it is told that all is ASCII.
LOCALES: dict[str, dict[str, str]] = {
    "utf-8": {},
    "ascii": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}
PROGRAM = """
import json, os
kinds = os.listdir("/proc/self/ns")
print(json.dumps([
    {kind: os.stat("/proc/self/ns/" + kind).st_ino for kind in kinds},
    "PY_UNSHARE" in os.environ,
]))
"""

_texts = st.one_of(
    right_lists(),
    st.builds(
        lambda text, number: disturbed(text, random.Random(number)),
        st.one_of(st.sampled_from(SAMPLES), right_lists()),
        st.integers(0, 2**32),
    ),
    heaps,
).map(lambda text: text.replace("\0", "").encode("utf-8", "surrogatepass"))
_bytes = st.binary(max_size=200).map(lambda value: value.replace(b"\0", b""))
_long = st.builds(lambda value, size: (value * size)[:120_000], _bytes, st.integers(1, 2000))
_plain = st.lists(
    st.sampled_from(["net", "uts=a", "ipc", "cgroup", "time=+1d", "mount", "pid", "caps=none"]),
    max_size=4,
    unique=True,
).map(lambda parts: ", ".join([*parts, "user"]).encode())
values = st.one_of(_texts, _bytes, _plain, _texts, _long)
_pattern = st.sampled_from([b"-c", b"-*", b"?[c]", b"[z-a]", b"*", b"py", b" ", b""])
patterns = st.lists(st.one_of(_pattern, _bytes), min_size=1, max_size=3).map(b",".join)
locales = st.sampled_from([*LOCALES])
others = {
    "PY_UNSHARE_ONLY": patterns,
    "PY_UNSHARE_ON_ERROR": st.one_of(st.sampled_from([b"", b"abort", b"warn", b"Warn"]), values),
    "PY_UNSHARE_NET_OPTS": values,
    "PY_UNSHARE_ACTIVE": values,
    "PY_UNSHARE_VERBOSE": st.one_of(st.sampled_from([b"", b"0", b"1"]), values),
}


def start(python: Python, variables: dict[str, bytes], locale: str, watch: Watch) -> Any:
    """Start it; the status, what the program saw, whether it still has the list, and the rest."""
    env = {name: os.fsdecode(value) for name, value in variables.items()}
    done = python.run(PROGRAM, env={**watch.env, **LOCALES[locale], **env})
    if done.status != 0:
        assert (done.status, done.stdout) == (125, ""), done
        check_refusal(done.stderr.encode("utf-8", "surrogateescape"))
        return 125, {}, False
    assert all(map(good_to_print, done.stderr.split("\n"))), done
    inodes, kept = json.loads(done.stdout)
    return 0, inodes, kept


def held(meaning: Meaning, inodes: dict[str, int], own: dict[str, int]) -> bool:
    """Whether the program is in all the namespaces that a list asks for."""
    asked = [FILES[name] for name in NAMESPACES if name in meaning]
    return all(inodes[kind] != own[kind] for kind in asked)


def test_any_bytes_for_a_list(
    either: Python, pytestconfig: pytest.Config, full: bool, tally: Tally, watch: Watch
) -> None:
    """A start is refused, or does what the bytes say: nothing where they say off."""
    own = namespaces("self")
    outcomes: Counter[str] = Counter()

    def check(example: tuple[bytes, str]) -> None:
        value, locale = example
        meaning: Meaning | None = {}
        wrong = False
        try:
            meaning = understand(value.decode(locale, "surrogateescape"))
        except Wrong:
            wrong = True
        if meaning and meaning.get("net") in ("pasta", "slirp4netns"):
            return  # which would connect it to the world
        status, inodes, kept = start(either, {"PY_UNSHARE": value}, locale, watch)
        if meaning is None:
            assert (status, inodes, kept) == (0, own, False)
            outcomes["off"] += 1
        elif status == 0:
            isolated = not wrong and held(meaning, inodes, own)
            tally.case(started_unisolated=not isolated, what=repr(value), count=0)
            assert isolated and not kept
            outcomes["isolated"] += 1
        else:
            outcomes["no list" if wrong else "refused"] += 1
        tally.case()

    strategy = st.tuples(values, locales)
    count = (FULL_STARTS if full else CI_STARTS) // 4
    examples(check, strategy, count, pytestconfig, explain=False)
    assert outcomes["no list"] and outcomes["isolated"]
    tally.notes[f"bytes as a list on {either.name}"] = _told(outcomes)


def test_any_bytes_for_the_other_variables(
    either: Python, pytestconfig: pytest.Config, full: bool, tally: Tally, watch: Watch
) -> None:
    """The program is isolated, or not meant by PY_UNSHARE_ONLY; or the start is refused."""
    own = namespaces("self")
    outcomes: Counter[str] = Counter()

    def check(example: tuple[str, bytes, str]) -> None:
        name, value, locale = example
        status, inodes, kept = start(
            either, {"PY_UNSHARE": b"user,net", name: value}, locale, watch
        )
        text = value.decode(locale, "surrogateescape")
        expected = "isolated"
        if name == "PY_UNSHARE_ONLY":
            expected = meant(text, either)
        elif name == "PY_UNSHARE_ON_ERROR" and text not in ("", "abort", "warn"):
            expected = "refused"
        isolated = status == 0 and held({"user": "", "net": ""}, inodes, own)
        seen = "refused" if status else "isolated" if isolated else "left alone"
        outcomes[seen] += 1
        tally.case(started_unisolated=seen == "left alone" != expected, what=repr(example))
        assert seen == expected
        assert seen != "left alone" or (inodes == own and kept)

    strategy = st.one_of([st.tuples(st.just(name), each, locales) for name, each in others.items()])
    count = (FULL_STARTS if full else CI_STARTS) // 4
    examples(check, strategy, count, pytestconfig, explain=False)
    assert outcomes["refused"] and outcomes["isolated"]
    tally.notes[f"bytes in other variables on {either.name}"] = _told(outcomes)


def meant(patterns: str, python: Python) -> str:
    """What becomes of `python -c …` under PY_UNSHARE_ONLY."""
    names = [name.strip(" \t") for name in patterns.split(",")]
    if "" in names:
        return "refused"
    if "-c" in names:
        return "isolated"
    for name in names:
        if python.version < (3, 10) and not readable(name):
            return "refused"
        if fnmatch.fnmatchcase("-c", name):
            return "isolated"
    return "left alone"


def readable(pattern: str) -> bool:
    """Whether Python 3.9 can make a regular expression of a glob pattern: no range goes back."""
    for inner in re.findall(r"\[(!?\]?[^\]]*)\]", pattern, re.DOTALL):
        ranges = re.findall(r"(.)-(.)", inner, re.DOTALL)
        if any(first > last for first, last in ranges):
            return False
    return True


def _told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(outcomes.items()))
