"""Bytes of the environment: by a fuzzer that sees where they lead, and in real starts."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import Python, namespaces, require_module
from harness.session import PROJECT
from proof.fuzz_corpus import SEEDS, WORDS
from proof.plugin import Tally, Watch

TARGET = Path(__file__).with_name("fuzz_target.py")

# What libFuzzer says at the end, and as it goes on.
DONE = re.compile(r"^Done (\d+) runs", re.MULTILINE)
COVERED = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


def test_where_bytes_lead(full: bool, tally: Tally, tmp_path: Path) -> None:
    require_module("atheris")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        (corpus / f"{number:03}").write_bytes(seed)
    words = tmp_path / "words"
    words.write_text("".join(f'"{word}"\n' for word in WORDS))
    runs = 3_000_000 if full else 60_000
    options = [f"-runs={runs}", f"-dict={words}", "-max_len=400", "-seed=20261124"]
    options += [f"-artifact_prefix={tmp_path}/", "-print_final_stats=1"]
    done = subprocess.run(
        [sys.executable, TARGET, *options, corpus],
        env={**os.environ, "PYTHONPATH": f"{PROJECT / 'src'}:{PROJECT / 'tests'}"},
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
    )
    finished = DONE.search(done.stderr)
    assert done.returncode == 0 and finished, done.stdout[-3000:] + done.stderr[-3000:]
    *_, covered = COVERED.finditer(done.stderr)
    tally.case(count=int(finished[1]))
    tally.notes["fuzzed"] = (
        f"{int(finished[1]):,} values of variables, {covered[1]} branches, {covered[3]} kept"
    )
    assert int(covered[1]) > 300  # or the package was not instrumented


# The namespaces and the uid map of the program.
WHERE = (
    "import os; print([os.readlink('/proc/self/ns/' + kind) for kind in ('user', 'net', 'mnt')], "
    "'PY_UNSHARE' in os.environ)"
)
OFF = (b"", b"0", b"off", b"no", b"false")


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_starts_with_any_bytes(
    request: pytest.FixtureRequest, which: str, full: bool, tally: Tally, watch: Watch
) -> None:
    """Nearly none is a list: the start is refused, with a message that a terminal can show."""
    python: Python = request.getfixturevalue(which)
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    here = namespaces("self")
    outside = str([f"{kind}:[{here[kind]}]" for kind in ("user", "net", "mnt")])
    for _ in range(10_000 if full else 100):
        value = mutated(chance)
        done = python.run(WHERE, unshare=os.fsdecode(value), env=watch.env)
        off = value.strip(b" \t").lower() in OFF
        if done.status == 0:
            wrong = (outside in done.stdout) != off or ("True" in done.stdout and not off)
        else:
            readable = all(line.isprintable() for line in done.stderr.splitlines())
            wrong = done.status != 125 or bool(done.stdout) or not readable or off
        tally.case(started_unisolated=wrong, what=f"seed {seed}: {value!r}: {done}")


def mutated(chance: random.Random) -> bytes:
    """Bytes that are random, or a list with some of them wrong; none of them is NUL."""
    if chance.random() < 0.3:
        return bytes(chance.choices(range(1, 256), k=chance.randrange(1, 60)))
    value = bytearray(chance.choice(SEEDS)[1:])
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(value) + 1)
        value[at : at + chance.randrange(2)] = bytes(
            chance.choices(range(1, 256), k=chance.randrange(3))
        )
    return bytes(value)
