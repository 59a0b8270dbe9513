"""What atheris feeds with bytes: each variable of the environment, up to what is pure of a start.

Run as a program: the arguments are those of libFuzzer. The first byte chooses the variable, the
rest is its value. Whatever a variable holds, the answer is a plan, nothing to do, or UnshareError.
"""

from __future__ import annotations

import os
import sys
from errno import EINVAL

import atheris

with atheris.instrument_imports(include=["unshare_boot"], enable_loader_override=False):
    import unshare_boot
    from unshare_boot import (
        diagnosis,
        errors,
        inside,
        namespaces,
        only,
        outbound,
        rehearsal,
        spec,
        startover,
    )

VARIABLES = (
    "PY_UNSHARE",
    "PY_UNSHARE_ONLY",
    "PY_UNSHARE_ON_ERROR",
    "PY_UNSHARE_NET_OPTS",
    "PY_UNSHARE_ACTIVE",
    "=started-over ",
)


def one_input(data: bytes) -> None:
    """Try one value of one variable."""
    name = VARIABLES[data[0] % len(VARIABLES)] if data else VARIABLES[0]
    value = os.fsdecode(data[1:].replace(b"\0", b"0"))
    try:
        if name == "PY_UNSHARE":
            read(value)
        elif name == "PY_UNSHARE_ONLY":
            only.meant(value)
        elif name == "PY_UNSHARE_ON_ERROR":
            if value != "warn":  # which tries a list
                rehearsal.may_be_had("off", value)
        elif name == "PY_UNSHARE_NET_OPTS":
            os.environ[name] = value
            outbound._options()
        elif name == "PY_UNSHARE_ACTIVE":
            os.environ[name] = value
            assert inside.active() == (), value
        else:
            os.environ["PY_UNSHARE"] = name + value
            os.environ.pop("PY_UNSHARE_ACTIVE", None)
            startover.arrive(name + value)
            raise AssertionError("it has arrived from nowhere")
    except errors.UnshareError as error:
        if error.errno != EINVAL:
            raise
        check(diagnosis.explain(value, error))


def read(text: str) -> None:
    """Parse a list; what can be written down again means the same."""
    plan = spec.parse(text)
    plain = namespaces.plain_plan(text)
    assert plain is None or plain == plan, (plain, plan)
    if plan is not None:
        again = spec.parse(str(plan))
        assert again == plan, (str(again), str(plan))


def check(message: bytes) -> None:
    """What is said has an end, and nothing in it that a terminal would obey."""
    assert len(message) < 8192, len(message)
    assert all(line.isprintable() for line in message.decode().splitlines()), message


if __name__ == "__main__":
    assert unshare_boot.__version__
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
