"""Decisions: whether what was tried may pass, and where it leads outside."""

from . import rules
from .tcp import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .loop import Loop
    from .names import Names
    from .rules import Rules
    from .tcp import Target

    Decided = Callable[[list[Target], str], None]


class Decisions:
    """Decides by the rules of the list, and by what the host's resolver says at that moment."""

    def __init__(self, loop: "Loop", names: "Names", allowed: "Rules") -> None:
        self._loop = loop
        self._names = names
        self._rules = allowed

    def decide(self, address: bytes, port: int, protocol: str, decided: "Decided") -> None:
        """Find out where a connection leads outside; nowhere with a reason."""
        name = self._names.name(address)
        if name:
            if self._rules.allows_name(name, port, protocol):
                self._resolve([name], port, protocol, None, decided)
            else:
                decided([], rules.NOT_ALLOWED)
        elif self._rules.allows_address(address, port, protocol):
            decided([target_of(address, port)], "")
        else:  # a name that was resolved past the answerer, by nscd or systemd-resolved
            found = self._rules.names_at(port, protocol)
            if found and not rules.is_special(address):
                self._resolve(found, port, protocol, address, decided)
            else:
                decided([], rules.NOT_ALLOWED)

    def _resolve(
        self,
        wanted: "list[str]",
        port: int,
        protocol: str,
        only: "bytes | None",
        decided: "Decided",
    ) -> None:
        """Ask the host's resolver, in a thread, for names.

        Args:
            wanted: the names.
            port: of the target.
            protocol: ``tcp`` or ``udp``.
            only: where that is given, the one address that counts.
            decided: gets the addresses.
        """

        def work() -> "Callable[[], None]":
            addresses: list[bytes] = []
            problem = ""
            for name in wanted:
                try:
                    addresses += look_up(name)
                except OSError as error:
                    problem = f"{name} does not resolve outside: {error.strerror}"
            return lambda: resolved(addresses, problem)

        def resolved(addresses: "list[bytes]", problem: str) -> None:
            if only is not None:
                here = only in addresses
                decided([target_of(only, port)] if here else [], "" if here else rules.NOT_ALLOWED)
                return
            good = [
                each
                for each in addresses
                if not rules.is_special(each) or self._rules.allows_address(each, port, protocol)
            ]
            if addresses and not good:
                problem = f"{wanted[0]} is {text_of(addresses[0])}, where no name may lead"
            decided([target_of(each, port) for each in good], "" if good else problem)

        self._loop.in_thread(work)


def look_up(name: str) -> "list[bytes]":
    """Return the addresses of a name, as the host's resolver has them, in its order."""
    from _socket import SOCK_STREAM, gaierror, getaddrinfo

    try:
        found = getaddrinfo(name, None, 0, SOCK_STREAM)
    except gaierror as error:
        raise OSError(error.errno, error.strerror) from None
    return list(dict.fromkeys(packed(str(address[0])) for *_, address in found))


def target_of(address: bytes, port: int) -> "Target":
    """Return what connect(2) takes."""
    from _socket import AF_INET, AF_INET6

    return (AF_INET if len(address) == 4 else AF_INET6), (text_of(address), port)


def text_of(address: bytes) -> str:
    """Return an address as people write it."""
    from _socket import AF_INET, AF_INET6, inet_ntop

    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


WHOLE = True
