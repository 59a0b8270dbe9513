"""What was raised in a child, raised again in its parent."""

from __future__ import annotations

import pickle
from typing import Any


def pack(error: BaseException) -> Any:
    """Return what `unpack` makes an exception of, as like it as can be."""
    try:
        data = pickle.dumps(error)
        if type(pickle.loads(data)) is type(error):
            return data
    except Exception:  # a class of the test's own, or one that holds what cannot be copied
        pass
    return type(error).__module__, type(error).__qualname__, str(error)


def unpack(packed: Any) -> BaseException:
    """Return the exception, or one of the same name and text."""
    if isinstance(packed, bytes):
        error: BaseException = pickle.loads(packed)
        return error
    module, name, text = packed
    return type(name, (Exception,), {"__module__": module})(text)  # type: ignore[no-any-return]


WHOLE = True
