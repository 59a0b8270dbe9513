"""Decisions: whether what was tried may pass, and where it leads outside."""

from time import monotonic

from . import rules
from .tcp import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .loop import Loop
    from .names import Names
    from .rules import Rules
    from .tcp import Target

    Resolved = Callable[[list[bytes], str], None]
    Decided = Callable[[list[Target], str], None]

FRESH = 1.0  # seconds that an answer of the host's resolver is good for
MOST_LOOKUPS = 1024  # names that have one at a time


class Decisions:
    """Decides by the rules of the list, and by what the host's resolver says at that moment."""

    def __init__(self, loop: "Loop", names: "Names", allowed: "Rules") -> None:
        self._loop = loop
        self._names = names
        self._rules = allowed
        self._lookups: dict[str, Lookup] = {}

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

    def expect(self, name: str) -> None:
        """Ask the host's resolver for a name that will be connected to, if it has time.

        Whoever asks for names without end is not to fill memory with questions.
        """
        if not self._loop.is_busy():
            self._look_up(name)

    def _resolve(
        self,
        wanted: "list[str]",
        port: int,
        protocol: str,
        only: "bytes | None",
        decided: "Decided",
    ) -> None:
        """Find out what names are outside.

        Args:
            wanted: the names.
            port: of the target.
            protocol: ``tcp`` or ``udp``.
            only: where that is given, the one address that counts.
            decided: gets the addresses.
        """

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

        self._gather(wanted, resolved)

    def _gather(self, wanted: "list[str]", resolved: "Resolved") -> None:
        lookups = [self._look_up(name) for name in wanted]
        left = [len(lookups)]

        def answered() -> None:
            left[0] -= 1
            if not left[0]:
                addresses = [address for each in lookups for address in each.addresses]
                problems = [each.problem for each in lookups if each.problem]
                resolved(addresses, problems[-1] if problems else "")

        for each in lookups:
            each.then(answered)

    def _look_up(self, name: str) -> "Lookup":
        now = monotonic()
        lookup = self._lookups.pop(name, None)
        if lookup is None or now - lookup.since > FRESH:
            lookup = Lookup(name, now)
            self._loop.in_thread(lookup.ask)
        self._lookups[name] = lookup  # the latest comes last
        if len(self._lookups) > MOST_LOOKUPS:
            del self._lookups[next(iter(self._lookups))]
        return lookup


class Lookup:
    """A question to the host's resolver.

    Attributes:
        since: when it was asked, in seconds of the monotonic clock.
        addresses: the answer, in the resolver's order.
        problem: why there is none.
    """

    def __init__(self, name: str, since: float) -> None:
        self.since = since
        self.addresses: list[bytes] = []
        self.problem = ""
        self._name = name
        self._waiting: list[Callable[[], None]] | None = []

    def then(self, done: "Callable[[], None]") -> None:
        """Call something once the answer is there."""
        if self._waiting is None:
            done()
        else:
            self._waiting.append(done)

    def ask(self) -> "Callable[[], None]":
        """Ask, in a thread; what is returned is to be called in the loop."""
        try:
            self.addresses = look_up(self._name)
        except OSError as error:
            self.problem = f"{self._name} does not resolve outside: {error.strerror}"
        return self._answered

    def _answered(self) -> None:
        waiting, self._waiting = self._waiting or [], None
        for done in waiting:
            done()


def look_up(name: str) -> "list[bytes]":
    """Return the addresses of a name, as the host's resolver has them, in its order.

    Raises:
        OSError: it has none.
    """
    from _socket import SOCK_STREAM, gaierror, getaddrinfo

    try:  # as bytes: a str is encoded as IDNA first, which some names from inside cannot be
        found = getaddrinfo(name.encode("ascii"), None, 0, SOCK_STREAM)
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
