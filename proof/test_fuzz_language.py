"""The language under hypothesis, beside a second reading of it (proof.grammar)."""

from __future__ import annotations

import contextlib
import errno
import itertools
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import strategies as st

from harness.lists import same, unparse
from proof.chance import examples
from proof.conftest import Tally
from proof.grammar import DIRECTORIES, FORMS, NAMESPACES, OPERATIONS, items
from proof.judge import check_refusal, judge
from proof.lists import (
    ITEMS,
    SAMPLES,
    SPECIAL,
    VALUES,
    anything,
    disturbed,
    escaped,
    heaps,
    right_items,
    right_lists,
)
from unshare_boot import UnshareError
from unshare_boot.language import ITEMS as ROWS
from unshare_boot.language import parse
from unshare_boot.namespaces import Plan
from unshare_boot.refusal.message import diagnose, explain


def size(full: bool, ci: int, all_of_it: int) -> int:
    return all_of_it if full else ci


def test_right_lists(pytestconfig: pytest.Config, full: bool, tally: Tally) -> None:
    """Every one is understood, as the grammar has it, in any order and with any blanks."""
    seen: Counter[str] = Counter()

    def check(text: str) -> None:
        plan = judge(text)
        assert plan is not None, f"{text!r} was meant to be right"
        for each in items(text):
            seen[each.partition("=")[0]] += 1
        tally.case()

    examples(check, right_lists(), size(full, 600, 30_000), pytestconfig)
    assert set(seen) == set(FORMS) == set(ROWS)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_every_item(
    name: str, pytestconfig: pytest.Config, full: bool, tally: Tally
) -> None:
    """Each alone: understood if it can stand alone, else refused for what it needs."""
    for form in VALUES[name]:

        def check(value: str | None) -> None:
            text = name if value is None else f"{name}={value}"
            plan = judge(text)
            needs = ("map-users", "map-groups", "setgroups", "addr", "allow", "record")
            assert (plan is None) == (name in needs)
            tally.case()

        if name in ("publish", "rw"):
            form = form.map(f"{{}},{'net=pasta' if name == 'publish' else 'ro=/'}".format)
        examples(check, form, size(full, 40, 3_000), pytestconfig, explain=False)


def test_the_order_does_not_matter(pytestconfig: pytest.Config, full: bool, tally: Tally) -> None:
    """But among mounts, and among ranges and addresses, whose order is kept."""
    kept = [OPERATIONS, {"allow"}]
    kept += [{"map-users"}, {"map-groups"}, {"publish"}, {"addr"}]
    shuffles = random.Random(8)

    def check(parts: list[str]) -> None:
        plan = parse(",".join(parts))
        other = [*parts]
        shuffles.shuffle(other)
        for names in kept:
            places = [at for at, each in enumerate(other) if each.partition("=")[0] in names]
            in_order = [each for each in parts if each.partition("=")[0] in names]
            for at, each in zip(places, in_order):
                other[at] = each
        assert same(parse(",".join(other)), plan)
        tally.case()

    examples(check, right_items(), size(full, 200, 10_000), pytestconfig)


def test_the_order_of_mounts_matters(pytestconfig: pytest.Config, full: bool, tally: Tally) -> None:
    mounts = st.one_of([ITEMS[name] for name in sorted(DIRECTORIES - {"rw"})])

    def check(parts: list[str]) -> None:
        plan = parse(",".join(parts))
        assert plan and len(plan.operations) == len(parts)
        for other in itertools.permutations(parts):
            assert same(parse(",".join(other)), plan) == (list(other) == parts)
        tally.case()

    strategy = st.lists(mounts, min_size=2, max_size=4, unique=True)
    examples(check, strategy, size(full, 80, 5_000), pytestconfig)


def test_blanks_do_not_matter(pytestconfig: pytest.Config, full: bool, tally: Tally) -> None:
    blanks = st.text(" \t", max_size=3)

    def check(example: tuple[list[str], list[tuple[str, str]]]) -> None:
        parts, around = example
        spaced = [f"{before}{each}{after}" for each, (before, after) in zip(parts, around)]
        assert same(parse(",".join(spaced)), parse(",".join(parts)))
        tally.case()

    around = st.lists(st.tuples(blanks, blanks), min_size=40, max_size=40)
    examples(check, st.tuples(right_items(), around), size(full, 150, 10_000), pytestconfig)


ONCE = [*NAMESPACES, "setgroups", "caps", "monotonic", "boottime", "proc", "sys"]


def test_what_is_given_twice_is_refused(
    pytestconfig: pytest.Config, full: bool, tally: Tally
) -> None:
    def check(example: tuple[list[str], str]) -> None:
        parts, other = example
        name = other.partition("=")[0]
        if name not in [each.partition("=")[0] for each in parts]:
            parts = [*parts, other]
        assert judge(",".join([*parts, other])) is None
        assert judge(",".join([other, *parts])) is None
        tally.case(count=2)

    strategy = st.tuples(right_items(), st.one_of([ITEMS[name] for name in ONCE]))
    examples(check, strategy, size(full, 150, 10_000), pytestconfig)


def test_any_text(pytestconfig: pytest.Config, full: bool, tally: Tally) -> None:
    def check(text: str) -> None:
        judge(text)
        tally.case()

    examples(check, anything(), size(full, 500, 50_000), pytestconfig)


def test_any_heap_of_items(pytestconfig: pytest.Config, full: bool, tally: Tally) -> None:
    found: Counter[bool] = Counter()

    def check(text: str) -> None:
        found[judge(text) is None] += 1
        tally.case()

    examples(check, heaps, size(full, 1_000, 30_000), pytestconfig)
    assert found[True] and found[False]


def test_a_character_or_two_wrong(pytestconfig: pytest.Config, full: bool, tally: Tally) -> None:
    """Of each list that is right forty and more that are nearly."""
    found: Counter[bool] = Counter()
    variants = size(full, 40, 50)

    def check(example: tuple[str, int]) -> None:
        text, number = example
        chance = random.Random(number)
        for _ in range(variants):
            other = disturbed(text, chance)
            if chance.random() < 0.3:
                other = disturbed(other, chance)
            found[judge(other) is None] += 1
        tally.case(count=variants)

    strategy = st.tuples(right_lists(), st.integers(0, 2**32))
    examples(check, strategy, size(full, 400, 10_000), pytestconfig)
    assert found[True] and found[False]


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_single_mistake(sample: str, full: bool, tally: Tally) -> None:
    """Each character left out, doubled, moved, or with any other before it or in its place; and
    each piece between two signs left out, doubled, or put in the place of another."""
    alphabet = SPECIAL if not full else {*SPECIAL, *map(chr, range(0x250)), *sample}
    texts = set()
    for at in range(len(sample) + 1):
        before, here, after = sample[:at], sample[at : at + 1], sample[at + 1 :]
        texts |= {
            before + after,
            before + here + here + after,
            before + after[:1] + here + after[1:],
        }
        for new in alphabet:
            texts |= {before + new + here + after, before + new + after}
    pieces = re.split(r"([,=:/\\[\].+-])", sample)
    for first, last in itertools.combinations(range(len(pieces) + 1), 2):
        texts.add("".join(pieces[:first] + pieces[last:]))
        texts.add("".join(pieces[:last] + pieces[first:]))
    for at, new in itertools.product(range(len(pieces)), pieces):
        texts.add("".join([*pieces[:at], new, *pieces[at + 1 :]]))
    for text in sorted(texts):
        judge(text)
    tally.case(count=len(texts))


def opcodes(text: str) -> int:
    """How many byte codes Python executes for a text: what it takes, whatever the machine."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(UnshareError):
            unparse(parse(text) or Plan())
    finally:
        sys.settrace(before)
    return count


MANY: dict[str, Callable[[int], str]] = {
    "tmpfs": lambda n: ",".join(f"tmpfs=/{i}" for i in range(n)),
    "bind": lambda n: ",".join(f"bind=/{i}:/{i}" for i in range(n)),
    "map-users": lambda n: ",".join(["user", *(f"map-users={i}:0:1" for i in range(n))]),
    "addr": lambda n: ",".join(["net", *(f"addr=10.0.{i >> 8}.{i & 255}/8" for i in range(n))]),
    "publish": lambda n: ",".join(["net=pasta", *(f"publish={i + 1}:1" for i in range(n))]),
    "nothing": lambda n: n * ",",
    "commas": lambda n: "tmpfs=" + n * "\\,",
    "colons": lambda n: "bind=" + n * "\\:" + ":" + n * "\\:",
    "backslashes": lambda n: "ro=" + n * "\\\\",
    "a backslash too many": lambda n: "ro=" + n * "\\\\" + "\\",
    "unknown": lambda n: n * "nett",
    "blanks": lambda n: n * " " + "user",
    "digits": lambda n: "user=" + n * "9",
    "zeros": lambda n: "time=" + n * "0",
}


@pytest.mark.parametrize("what", MANY)
def test_twice_as_long_takes_twice_as_much(what: str, tally: Tally) -> None:
    """At most: a list can be 128 KiB long."""

    few, many = (opcodes(MANY[what](number)) for number in (500, 1000))
    assert few and many < 2.2 * few
    tally.case()


@pytest.mark.parametrize("what", MANY)
def test_a_list_as_long_as_the_environment_has_room_for(what: str, tally: Tally) -> None:
    number = 2**17 // (len(MANY[what](1000)) // 1000)
    judge(MANY[what](number)[: 2**17 - len("PY_UNSHARE=") - 1])
    tally.case()


# What is said of an error, whatever it is.

CALLS = [
    *(f"unshare(CLONE_NEW{name})" for name in ("USER", "NET", "NS", "UTS", "PID", "TIME")),
    *("unshare(CLONE_THREAD)", "mount(/proc)", "mount(/sys)", "mount(/)", "mount_setattr(/a)"),
    *("write(/proc/self/uid_map)", "write(/proc/self/timens_offsets)", "fsopen(overlay)", "fork"),
    *("setns(/proc/1/ns/net)", "open(/proc/1/ns/user)", "prctl(PR_SET_DUMPABLE)", "execve(/x)"),
    *("/proc/self/ns/net", "stat(/proc/self/ns/user)", "move_mount(/a)", "sethostname", "stat", ""),
]
words = st.one_of(anything(), anything(max_size=5).map(lambda text: 1_000 * text))
errnos = st.one_of(st.sampled_from([*errno.errorcode]), st.integers())
list_items = st.one_of(st.sampled_from([*FORMS, ""]), *ITEMS.values(), words)
os_errors: st.SearchStrategy[BaseException] = st.one_of(
    st.builds(UnshareError, errnos, words, list_items, st.one_of(st.sampled_from(CALLS), words)),
    st.builds(OSError, errnos, words, st.one_of(st.sampled_from(CALLS), words)),
    # As the third argument of a BlockingIOError it is a count, which has to fit.
    st.builds(OSError, errnos, words, st.one_of(st.binary(), st.integers(-(2**31), 2**31))),
    st.builds(OSError, st.integers(), st.none()),
    st.builds(OSError, words),
    st.builds(OSError),
)
other_errors: st.SearchStrategy[BaseException] = st.one_of(
    st.builds(KeyboardInterrupt),
    st.builds(MemoryError),
    st.builds(RuntimeError, words),
    st.builds(ValueError, words),
    st.builds(lambda text, name: ImportError(text, name=name, path=name), words, words),
    st.builds(lambda text, name: SyntaxError(text, (name, 1, 1, text)), words, words),
    st.builds(EOFError, words),
    st.builds(SystemExit, words),
)
any_list = st.one_of(right_lists(), heaps, words)


def test_any_error_of_the_system_is_explained(
    pytestconfig: pytest.Config, full: bool, tally: Tally
) -> None:
    def check(example: tuple[str, BaseException]) -> None:
        text, error = example
        check_refusal(explain(text, error))
        diagnose(text, error)  # explain() would leave out one that raises
        tally.case()

    strategy = st.tuples(any_list, os_errors)
    examples(check, strategy, size(full, 400, 20_000), pytestconfig)


def test_any_other_error_is_explained(
    pytestconfig: pytest.Config, full: bool, tally: Tally
) -> None:
    def check(example: tuple[str, BaseException, bool]) -> None:
        text, error, started = example
        check_refusal(explain(text, error, started))
        diagnose(text, error)
        tally.case()

    strategy = st.tuples(any_list, other_errors, st.booleans())
    examples(check, strategy, size(full, 200, 10_000), pytestconfig)


def test_an_error_that_cannot_be_told(tally: Tally) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    message = explain("user", Mute())
    check_refusal(message)
    assert b"Mute" in message
    tally.case()


# The files that the causes are looked for in, with anything in them.
FILES = [
    *(f"proc/self/{name}" for name in ("status", "mountinfo", "uid_map", "limits", "cgroup")),
    *("proc/version", "proc/cmdline", "proc/sys/kernel/osrelease", "proc/filesystems"),
    *("proc/sys/user/max_user_namespaces", "proc/sys/user/max_net_namespaces"),
    *("proc/sys/fs/mount-max", "proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    *("proc/self/attr/current", "proc/self/attr/apparmor/current", "sys/fs/selinux/enforce"),
]
contents = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"0", b"1\n", b"2147483647\n", b"0 0 1\n", b"CapEff: x\nUid: 1\n"]),
    st.sampled_from(
        [Path("/proc/self/status").read_bytes(), b"Uid:\t0\t0\nCapEff:\t0\nSeccomp:\t2"]
    ),
)


def test_any_machine(pytestconfig: pytest.Config, full: bool, tally: Tally, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)

    def check(example: tuple[dict[str, bytes], str, BaseException]) -> None:
        files, text, error = example
        for name in FILES:
            if name in files:
                (tmp_path / name).write_bytes(files[name])
            else:
                (tmp_path / name).unlink(missing_ok=True)
        check_refusal(explain(text, error, root=str(tmp_path)))
        tally.case()

    machines = st.dictionaries(st.sampled_from(FILES), contents)
    strategy = st.tuples(machines, any_list, os_errors)
    examples(check, strategy, size(full, 200, 10_000), pytestconfig)


def test_a_path_of_the_longest_length_is_told_with_the_reason(tally: Tally) -> None:
    path = 30_000 * "/abc"
    error = UnshareError(
        errno.ENAMETOOLONG, f"{path!r}: File name too long", f"ro={path!r}", "stat"
    )
    message = explain(f"user,ro={escaped(path)}", error).decode()
    assert len(message) < 3_000
    assert "\n  what: ro='/abc/abc" in message
    assert message.endswith("abc': File name too long (ENAMETOOLONG)\n")
    tally.case()
