"""A veth(4) pair, its ends, and routes: rtnetlink(7), as much of it as the gate takes."""

import sys

from ..rtnetlink import (
    AF_INET,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RT_SCOPE_UNIVERSE,
    RTA_DST,
    RTN_LOCAL,
    Netlink,
    attribute,
    family_of,
    number,
    wait_until,
)

IFF_UP = 0x1
IFLA_ADDRESS = 1  # include/uapi/linux/if_link.h
IFLA_IFNAME = 3
IFLA_OPERSTATE = 16
IFLA_LINKINFO = 18
IFLA_AF_SPEC = 26
IFLA_NET_NS_FD = 28
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_INET_CONF = 1
VETH_INFO_PEER = 1  # include/uapi/linux/veth.h
IPV4_DEVCONF_RP_FILTER = 8  # include/uapi/linux/ip.h
LOOSE = 2  # rp_filter: the source has to be reachable by any interface
RTA_OIF = 4  # include/uapi/linux/rtnetlink.h
RTA_GATEWAY = 5
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255
RTPROT_BOOT = 3
RT_SCOPE_LINK = 253
RT_SCOPE_HOST = 254
RTN_UNICAST = 1
RTNH_F_ONLINK = 4
NDA_DST = 1  # include/uapi/linux/neighbour.h
NDA_LLADDR = 2
NUD_PERMANENT = 0x80
FRA_IIFNAME = 3  # include/uapi/linux/fib_rules.h
FRA_PRIORITY = 6
FRA_IP_PROTO = 22  # Linux 4.17, as is the next
FRA_DPORT_RANGE = 24
FR_ACT_TO_TBL = 1
FR_ACT_BLACKHOLE = 6
TCP = 6
IF_OPER_UP = 6  # include/uapi/linux/if.h


class Links(Netlink):
    """What can be done to interfaces, routes and neighbours."""

    def make_veth(
        self, here: "tuple[str, bytes]", there: "tuple[str, bytes]", index: int, namespace: int
    ) -> None:
        """Make a veth(4) pair, one end here and the other elsewhere.

        Args:
            here: name and hardware address of the end here.
            there: the same of the other.
            index: of both.
            namespace: a descriptor of the network namespace of the other.
        """
        peer = _end(index, there) + attribute(IFLA_NET_NS_FD, number(namespace, 4))
        data = attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer))
        info = attribute(IFLA_INFO_KIND, b"veth") + data
        body = _end(index, here) + attribute(IFLA_LINKINFO, info)
        self.ask("RTM_NEWLINK", body, NLM_F_CREATE | NLM_F_EXCL, "veth")

    def set_up(self, index: int, loose: bool = False) -> None:
        """Bring an interface up.

        Args:
            index: of the interface.
            loose: take packets whose sources are reached by another one (rp_filter).
        """
        body = link(index, up=True)
        if loose:
            setting = attribute(IPV4_DEVCONF_RP_FILTER, number(LOOSE, 4))
            inet = attribute(AF_INET, attribute(IFLA_INET_CONF, setting))
            body += attribute(IFLA_AF_SPEC, inet)
        self.ask("RTM_NEWLINK", body, what="up")

    def wait_until_up(self, index: int) -> None:
        """Wait until an interface sends: the kernel sets its queue up a moment after its carrier.

        Raises:
            UnshareError: that took longer than `PATIENCE`.
        """
        wait_until(lambda: self._is_up(index), "the interface did not come up")

    def _is_up(self, index: int) -> bool:
        answer = self.exchange("RTM_GETLINK", link(index))
        at = 32  # behind the header and struct ifinfomsg
        while at + 4 <= len(answer):
            length = int.from_bytes(answer[at : at + 2], sys.byteorder)
            if int.from_bytes(answer[at + 2 : at + 4], sys.byteorder) == IFLA_OPERSTATE:
                return answer[at + 4] == IF_OPER_UP
            at += max(4, length + -length % 4)
        return True  # a kernel that does not say

    def add_route(
        self, index: int, to: "tuple[bytes, int]", kind: int, table: int, gateway: bytes = b""
    ) -> None:
        """Add a route.

        Args:
            index: of the interface.
            to: address and prefix length; the address tells IPv4 from IPv6.
            kind: RTN_UNICAST or RTN_LOCAL.
            table: RT_TABLE_MAIN or RT_TABLE_LOCAL.
            gateway: on the link, or none.
        """
        address, prefix = to
        scope = RT_SCOPE_HOST if kind == RTN_LOCAL else RT_SCOPE_LINK
        if gateway or len(address) == 16:
            scope = RT_SCOPE_UNIVERSE
        flags = RTNH_F_ONLINK if gateway else 0
        body = bytes([family_of(address), prefix, 0, 0, table, RTPROT_BOOT, scope, kind])
        body += number(flags, 4)
        if prefix:
            body += attribute(RTA_DST, address)
        body += attribute(RTA_OIF, number(index, 4))
        if gateway:
            body += attribute(RTA_GATEWAY, gateway)
        self.ask("RTM_NEWROUTE", body, NLM_F_CREATE | NLM_F_EXCL)

    def add_neighbour(self, index: int, address: bytes, mac: bytes) -> None:
        """Say which hardware address a neighbour has, so that nobody has to be asked."""
        body = bytes([family_of(address), 0, 0, 0]) + number(index, 4)
        body += number(NUD_PERMANENT, 2) + bytes([0, RTN_UNICAST])
        body += attribute(NDA_DST, address) + attribute(NDA_LLADDR, mac)
        self.ask("RTM_NEWNEIGH", body, NLM_F_CREATE | NLM_F_EXCL)

    def hold_connections(self, interface: str, ports: "list[int]", family: int) -> None:
        """Drop what comes in by TCP to any other port than these, without an answer.

        That takes rules of the routing, ip-rule(8), before the one for the table local, which is
        the first one by itself.

        Args:
            interface: where it comes in.
            ports: that are served, in ascending order.
            family: AF_INET or AF_INET6.

        Raises:
            UnshareError: the kernel has no such rules.
        """
        by_tcp = attribute(FRA_IIFNAME, interface.encode() + b"\0")
        by_tcp += attribute(FRA_IP_PROTO, bytes([TCP]))
        self._rule("RTM_NEWRULE", family, FR_ACT_TO_TBL, 3)
        for first, last in ranges(ports):
            span = attribute(FRA_DPORT_RANGE, number(first, 2) + number(last, 2))
            self._rule("RTM_NEWRULE", family, FR_ACT_TO_TBL, 1, by_tcp + span)
        self._rule("RTM_NEWRULE", family, FR_ACT_BLACKHOLE, 2, by_tcp)
        self._rule("RTM_DELRULE", family, FR_ACT_TO_TBL, 0)

    def _rule(
        self, kind: str, family: int, action: int, priority: int, selector: bytes = b""
    ) -> None:
        """Add or delete a rule that leads to the table local, or drops."""
        table = RT_TABLE_LOCAL if action == FR_ACT_TO_TBL else 0
        body = bytes([family, 0, 0, 0, table, 0, 0, action]) + bytes(4)  # struct fib_rule_hdr
        body += attribute(FRA_PRIORITY, number(priority, 4)) + selector
        self.ask(kind, body, NLM_F_CREATE if kind == "RTM_NEWRULE" else 0)


def ranges(numbers: "list[int]") -> "list[tuple[int, int]]":
    """Return the first and the last of each run of numbers that follow one another."""
    found: list[tuple[int, int]] = []
    for each in numbers:
        if found and found[-1][1] == each - 1:
            found[-1] = found[-1][0], each
        else:
            found.append((each, each))
    return found


def _end(index: int, end: "tuple[str, bytes]") -> bytes:
    name, mac = end
    return link(index) + attribute(IFLA_IFNAME, name.encode()) + attribute(IFLA_ADDRESS, mac)


def link(index: int, up: bool = False) -> bytes:
    """Return a struct ifinfomsg."""
    flags = number(IFF_UP, 4) if up else bytes(4)
    return bytes(4) + number(index, 4) + flags + flags


WHOLE = True
