"""The resolver, resolv.conf(5): whether what is inside can ask it, and what to do where it cannot.

The host's may listen on the host's loopback alone, as systemd-resolved does at 127.0.0.53. Then the
file is covered, for the program only, by one that names the driver, which asks that resolver.
"""

import os
from errno import ENOENT, EOPNOTSUPP

from ..errors import UnshareError, named
from ..resolv_conf import RESOLV_CONF, nameservers
from .ports import try_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces import Plan

COVERING = ("private", "slave")  # words of mount with which what is covered is so for nobody else


def find_unreachable(plan: "Plan") -> str:
    """Return the address of the host's resolver if what is inside could not ask it, else nothing.

    Raises:
        UnshareError: and nothing can be done about that.
    """
    addresses = nameservers()
    if not all(_is_local(address) for address in addresses):
        return ""
    item = named("net", plan.net)
    asked = f"names are asked of {addresses[0]} here, which is out of reach inside"
    if ":" in addresses[0]:
        raise UnshareError(EOPNOTSUPP, f"{asked}, and IPv6 cannot be forwarded", item)
    if not os.path.lexists(RESOLV_CONF):
        asked += f", and there is no {RESOLV_CONF} to cover: as root, touch {RESOLV_CONF}"
        more = "" if plan.mount in COVERING else f"; and {_which_mount(plan)}"
        raise UnshareError(ENOENT, f"{asked}{more}", item)
    if plan.mount not in COVERING:
        raise UnshareError(EOPNOTSUPP, f"{asked}: {_which_mount(plan)}", item)
    return addresses[0]


def _is_local(address: str) -> bool:
    """Tell whether an address is the machine's own: only to such a one can a socket be bound."""
    return try_bind(address) is None


def _which_mount(plan: "Plan") -> str:
    if plan.mount is None:
        return f"add mount to the list, and {RESOLV_CONF} will name another"
    return f"with mount=private, not mount={plan.mount}, {RESOLV_CONF} would name another"


WHOLE = True
