"""A plan as the list that gives it, and comparing two plans: only the tests need this."""

from __future__ import annotations

from unshare_boot.namespaces import NAMESPACES, Plan


def unparse(plan: Plan) -> str:
    """Return the list that gives the plan, in the fixed order, with what it implies spelt out."""
    items = []
    for name in NAMESPACES:
        value = getattr(plan, name)
        if value is not None:
            items.append(f"{name}={_escape(value)}" if value else name)
    items += [f"map-users={inner}:{outer}:{count}" for inner, outer, count in plan.map_users]
    items += [f"map-groups={inner}:{outer}:{count}" for inner, outer, count in plan.map_groups]
    if plan.setgroups:
        items.append(f"setgroups={plan.setgroups}")
    if plan.monotonic is not None:
        items.append(f"monotonic={_show_offset(plan.monotonic)}")
    if plan.boottime is not None:
        items.append(f"boottime={_show_offset(plan.boottime)}")
    items += [f"publish={addr}:{host}:{port}/{kind}" for addr, host, port, kind in plan.publish]
    items += [f"addr={address}" for address in plan.addr]
    for host, first, last, kind in plan.allow:
        address, slash, prefix = host.partition("/")
        shown = f"[{address}]{slash}{prefix}" if ":" in host else host
        items.append(f"allow={shown}:{first}-{last}/{kind}")
    if plan.record is not None:
        items.append(f"record={_escape(plan.record)}" if plan.record else "record")
    for operation, *paths in plan.operations:
        text = ":".join(_escape(path).replace(":", "\\:") for path in paths)
        items.append(f"{operation}={text}" if paths else operation)
    if plan.keep_proc:
        items.append("proc=keep")
    if plan.caps:
        items.append(f"caps={plan.caps}")
    if plan.sockets:
        items.append(f"sockets={plan.sockets}")
    return ",".join(items)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _show_offset(offset: int) -> str:
    seconds, nanoseconds = divmod(abs(offset), 10**9)
    fraction = f".{nanoseconds:09}" if nanoseconds else ""
    return f"{'-' if offset < 0 else '+'}{seconds}{fraction}"


def same(one: Plan | None, other: Plan | None) -> bool:
    """Whether two plans ask for the same."""
    return one is other or (one is not None and other is not None and vars(one) == vars(other))
