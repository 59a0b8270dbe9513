"""The hosts of ``allow``: names, addresses and networks."""

from ..errors import shown
from ..namespaces import Plan
from .readers import Draft, address, bad, not_a, number

MAX_PORTS = 1024  # of all that is allowed in a list
MAX_LABEL = 63  # characters between two dots of a name, RFC 1035, 2.3.4
MAX_DOMAIN = 253
MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96
OF_A_GATE = ("198.18.0.0/15", "2001:2::/48")  # gate.network and gate.names give addresses of these
HERE = ("127.0.0.1", "::1")
LOOPBACK = "of the host's loopback localhost, 127.0.0.1 and [::1] alone can be named"


def allow(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    """Read ``HOST:PORT[-PORT][/udp]`` into a draft: a reader as those of ``readers``."""
    scheme, is_url, rest = (value or "").partition("://")
    if is_url:
        meant = f"{rest.partition('/')[0]}:{_port_of(scheme) or 'PORT'}"
        raise bad(name, value, f"a host and its port, and no URL: allow={meant}")
    target, slash, protocol = (value or "").rpartition("/")
    if not slash or ":" in protocol:  # that of ADDRESS/PREFIX
        target, protocol = value or "", "tcp"
    host, colon, span = target.rpartition(":")
    if not colon or not host:
        raise bad(name, value, f"expected {expected}")
    if protocol not in ("tcp", "udp"):
        raise bad(
            name, value, f"behind the port comes /udp or nothing, and not {shown('/' + protocol)}"
        )
    first, dash, last = span.partition("-")
    if first.isalpha() and _port_of(first):
        raise bad(name, value, f"the port is a number: that of {first} is {_port_of(first)}")
    start = number(name, value, first, 1, 65535)
    end = number(name, value, last, 1, 65535) if dash else start
    if end < start:
        raise bad(name, value, f"the range of ports ends before it begins, at {start}")
    rule = host_or_network(name, value, host, expected), start, end, protocol
    if not draft.add("allow", rule, key=rule):
        raise bad(name, value, "given twice")
    draft.ports += end - start + 1
    if draft.ports > MAX_PORTS:
        raise bad(name, value, f"more than {MAX_PORTS} ports in all: each is listened at")


def _port_of(service: str) -> int:
    """Return the port of a service by its name, services(5); 0 where it is not known."""
    from _socket import getservbyname

    try:
        return getservbyname(service.lower(), "tcp")
    except (OSError, ValueError):
        return 0


def host_or_network(name: str, value: "str | None", text: str, expected: str) -> str:
    """Return a name, an address or ADDRESS/PREFIX in its only form."""
    if text[:1] == "[":
        inside, bracket, prefix = text[1:].partition("]")
        if not bracket or (prefix and prefix[0] != "/"):
            raise bad(name, value, f"expected {expected}")
        return _network(name, value, address(name, value, inside, (6,)), prefix[1:], bool(prefix))
    plain, slash, prefix = text.partition("/")
    if plain.replace(".", "").isdigit():
        return _network(name, value, address(name, value, plain, (4,)), prefix, bool(slash))
    return domain(name, value, text, expected)


def _network(name: str, value: "str | None", text: str, prefix: str, given: bool) -> str:
    from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

    packed = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    bits = number(name, value, prefix, 0, 8 * len(packed)) if given else 8 * len(packed)
    if packed[:12] == MAPPED and bits >= 96:  # a socket for both kinds has IPv4 addresses so
        packed, bits = packed[12:], bits - 96
    whole = 8 * len(packed)
    kept = int.from_bytes(packed, "big") >> whole - bits << whole - bits
    packed = kept.to_bytes(len(packed), "big")
    found = inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)
    if len(packed) == 4:
        here = bits >= 8 and packed[0] in (0, 127)  # 0.0.0.0 leads to one's own loopback as well
    else:
        here = bits >= 127 and packed[:15] == bytes(15) and packed[15] < 2
    if here and (bits < whole or found not in HERE):
        raise bad(name, value, LOOPBACK)
    return found if bits == whole else f"{found}/{bits}"


def check_addresses(plan: Plan) -> None:
    """Refuse addresses of ``lo`` and in ``allow`` that keep connections from the gate."""
    for item, networks in (("addr", plan.addr), ("allow", [rule[0] for rule in plan.allow])):
        for each in networks:
            for gates in OF_A_GATE:
                # An allowed network may be wider: it has other hosts as well.
                if _is_within(each, gates) or (item == "addr" and _is_within(gates, each)):
                    raise bad(item, None, f"{each}: {gates} is what a gate itself gives to names")
    for mine in plan.addr:
        for host, *_ in plan.allow:
            if host not in HERE and _is_within(host, mine):
                reason = f"no connection to {host} leaves: by addr={mine} it is lo that has it"
                cure = "give addr a longer prefix, or leave one out"
                raise bad("allow", None, f"{reason}; {cure}")


def _is_within(network: str, other: str) -> bool:
    return _leading(network).startswith(_leading(other) or "a name")


def _leading(network: str) -> str:
    """Return 4 or 6 and then the bits that all addresses of a network share; of a name nothing."""
    from _socket import AF_INET, AF_INET6, inet_pton

    text, _, prefix = network.partition("/")
    try:
        packed = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except OSError:
        return ""
    whole = 8 * len(packed)
    bits = f"{int.from_bytes(packed, 'big'):0{whole}b}"
    return ("6" if ":" in text else "4") + bits[: int(prefix or whole)]


def domain(name: str, value: "str | None", text: str, expected: str) -> str:
    """Return a name of the DNS, or one with ``*.`` before it, in lower case: RFC 1035, 2.3.4."""
    if not text.isascii():
        raise not_a(
            "name of ASCII letters: write its form that begins with xn--", name, value, text
        )
    found = text.lower()[:-1] if text[-1:] == "." else text.lower()
    labels = (found[2:] if found[:2] == "*." else found).split(".")
    for label in labels:
        plain = label.replace("-", "a").replace("_", "a")
        if not plain.isalnum() or len(label) > MAX_LABEL:
            raise bad(name, value, f"expected {expected}")
    if found.endswith(".localhost"):
        raise bad(name, value, LOOPBACK)
    if len(found) > MAX_DOMAIN:
        raise bad(name, value, f"a name has at most {MAX_DOMAIN} characters")
    return found


WHOLE = True
