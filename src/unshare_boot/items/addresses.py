"""More addresses on the loopback interface, by rtnetlink(7)."""

from errno import EEXIST

from ..errors import UnshareError, named
from ..namespaces import Start
from ..rtnetlink import Netlink

LOOPBACK = 1  # the index of lo in every network namespace

# What the kernel gives lo by itself when it goes up.
GIVEN = ("127.0.0.1/8", "::1/128")


def add_addresses(start: Start) -> None:
    """Give the interface ``lo`` the addresses of the plan; each is usable on return.

    The kernel takes all of an IPv4 network on ``lo`` as local: with 10.0.0.1/8, 10.1.2.3 as well.

    Raises:
        UnshareError: the kernel refuses, as it does IPv6 addresses where IPv6 is switched off.
    """
    netlink = Netlink()
    try:
        for address in start.plan.addr:
            try:
                _add(netlink, address)
            except UnshareError as error:
                number, reason, _, *call = error.facts()
                raise UnshareError(number, reason, named("addr", address), *call) from None
    finally:
        netlink.close()


def _add(netlink: Netlink, address: str) -> None:
    from _socket import AF_INET, AF_INET6, inet_pton

    text, _, prefix = address.partition("/")
    packed = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    try:
        netlink.add_address(LOOPBACK, packed, int(prefix))
    except UnshareError as error:
        if error.errno != EEXIST or address not in GIVEN:
            raise
    if len(packed) == 16:
        netlink.wait_until_local(packed)


WHOLE = True
