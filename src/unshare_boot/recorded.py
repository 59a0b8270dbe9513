"""What a record of the gate's asks for: the command ``unshare-boot allow``."""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from typing import Any

from .errors import UnshareError
from .language import parse


def allow_items(path: str) -> tuple[list[str], list[str]]:
    """Return the ``allow`` items that would have let the refused attempts of a record pass.

    Those that were tried most come first.

    Args:
        path: of a file that ``record=FILE`` has written.

    Returns:
        The items; and what was left out, in words.

    Raises:
        OSError: it cannot be read.
        ValueError: no line of it is one of a record.
    """
    found: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    entries = 0
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = json.loads(line)
                refused = entry.get("reason") == "not in allow" and entry["protocol"] != "dns"
                entries += 1
                if refused:
                    item = item_of(entry)
                    (found if item else left_out)[item or unnamed(entry)] += 1
            except (ValueError, KeyError, AttributeError, TypeError):
                left_out[f"{path}:{number} is no line of a record"] += 1
    if left_out and not entries:
        raise ValueError("no line of it is JSON with the keys of an attempt")
    return [item for item, _ in found.most_common()], [*left_out]


def item_of(entry: dict[str, Any]) -> str:
    """Return the item that lets an attempt pass; empty where no item can say that."""
    host = entry["name"] or entry["address"]
    shown = f"[{host}]" if ":" in host else host
    item = f"allow={shown}:{entry['port']}{'/udp' if entry['protocol'] == 'udp' else ''}"
    try:
        plan = parse(f"user,net=gate,{item}")
    except UnshareError:
        return ""
    # A name may look like an address, which would be somebody else's.
    same = plan is not None and plan.allow[0][0] == host and "," not in item
    return item if same and not (entry["name"] and is_address(host)) else ""


def is_address(host: str) -> bool:
    """Tell whether a host is an address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def unnamed(entry: dict[str, Any]) -> str:
    """Say which attempt no item can let pass."""
    return f"no item lets {entry['name']!r} pass, port {entry['port']}: it is no name of a host"


WHOLE = True
