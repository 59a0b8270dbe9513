"""What atheris calls with bytes: those of the environment, through all that reads them.

Run by test_fuzz_bytes.py as a program of its own, with libFuzzer's options. An input is the values
of the variables, with a NUL between them, which none of them can have. All of it happens inside
namespaces that the process has entered, since what `starting_over.finish` reads counts only there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from errno import EINVAL

import atheris

with atheris.instrument_imports(include=["unshare_boot", "proof.grammar"]):
    import unshare_boot
    from proof.judge import check_refusal, judge
    from unshare_boot import enter, inside, language, plan_of
    from unshare_boot.errors import UnshareError
    from unshare_boot.outbound import driver
    from unshare_boot.refusal import message
    from unshare_boot.start import alternatives, program, starting_over

VARIABLES = ("ONLY", "ON_ERROR", "NET_OPTS", "ACTIVE", "VERBOSE")
TRUE = b"@"  # in an input, it stands for what PY_UNSHARE_ACTIVE really is, and for the process id


def one_input(data: bytes) -> None:
    """Have one input read by everything.

    Raises:
        Exception: something was raised that is no refusal, or was not as it should be.
    """
    fields = data.replace(TRUE, TRUTH).split(b"\0", len(VARIABLES) + 1)
    text = os.fsdecode(fields[0])
    values = dict(zip(VARIABLES, [*map(os.fsdecode, fields[1:]), *len(VARIABLES) * [""]]))
    arguments = os.fsdecode(fields[-1]).replace("\0", " ").split(" ")
    for name, value in values.items():
        os.environ[f"PY_UNSHARE_{name}"] = value

    errors: list[BaseException] = []
    judge(text)
    with refusals(errors, ""):
        language.parse(text)
    with refusals(errors, "PY_UNSHARE_ONLY"):
        sys.argv, sys.orig_argv = arguments[-1:], ["python", *arguments]
        assert isinstance(program.is_named(values["ONLY"]), bool)
    with refusals(errors, "PY_UNSHARE_ON_ERROR"):
        if values["ON_ERROR"] != "warn" and "|" not in text:  # for which it would fork
            assert alternatives.choose(text, values["ON_ERROR"], plan_of, enter) == text
    with refusals(errors, "PY_UNSHARE_NET_OPTS"):
        assert all(isinstance(option, str) for option in driver.more_options())
    holding = inside.holding()
    assert set(holding.items()) <= set(HOLDING.items())
    assert inside.active() == tuple(holding)
    os.environ["PY_UNSHARE"] = text
    with refusals(errors, ""):
        starting_over.finish(starting_over.STARTED_OVER + text)
        assert holding, "went on where nothing holds"
    assert "PY_UNSHARE" not in os.environ

    number = len(data) % 40  # an errno, with what the bytes may tell of it
    errors.append(UnshareError(number, values["ON_ERROR"], values["ONLY"], values["NET_OPTS"]))
    errors.append(OSError(number, values["ACTIVE"], values["VERBOSE"]))
    for error in errors if len(data) % 8 == 0 else errors[:-2]:
        check_refusal(message.explain(text, error))
        message.diagnose(text, error)


@contextlib.contextmanager
def refusals(errors: list[BaseException], item: str) -> Iterator[None]:
    """Take note of a refusal, the only thing that may be raised."""
    refusal = None
    try:
        yield
    except UnshareError as error:
        refusal = error
    if refusal:
        assert refusal.errno == EINVAL and (not item or refusal.item == item), repr(refusal)
        errors.append(refusal)


if __name__ == "__main__":
    # Before libFuzzer starts a thread.
    unshare_boot.unshare("user,net")
    HOLDING = inside.holding()
    TRUTH = os.environb[b"PY_UNSHARE_ACTIVE"]
    assert HOLDING
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
