"""How many clients that have not replied each source has, and who has too many under pressure.

A source is an IPv4 address or an IPv6 /64, which is what one customer gets; an IPv4 address written
as IPv6 is the IPv4 address. Behind one source can stand a whole company (NAT), so the limit acts
only under pressure, and never on exempt networks. Rules: a source has a count only while a client
of it is here, and never a higher one than it has clients, so that nobody stays locked out; keys are
bytes, because integers chosen by a peer can be made to collide; off, nothing is counted.
"""

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Final

from proxy.front.settings import SourceSettings

__all__ = ["Sources", "source_of"]

_TCP4: Final = 0x04
_TCP6: Final = 0x06
# RFC 4291, Section 2.5.5.2.
_MAPPED: Final = b"\x06" + bytes(10) + b"\xff\xff"
_IPV4_BYTES: Final = 4
_PREFIX_BYTES: Final = 8


def source_of(five_tuple: bytes) -> bytes | None:
    """The source of a packed 5-tuple: 4 bytes of IPv4, 8 of an IPv6 /64; None of UNIX sockets."""
    protocol = five_tuple[0]
    if protocol == _TCP4:
        return five_tuple[1:5]
    if protocol != _TCP6:
        return None
    if five_tuple.startswith(_MAPPED):
        return five_tuple[13:17]
    return five_tuple[1:9]


class Sources:
    """The sources of one front process's clients.

    Each client that was admitted is released once: at its reply, or when it goes before. ``enter``
    and ``leave`` know by its descriptor whose it is, and that only once.
    """

    __slots__ = ("_clients", "_counts", "_exempt4", "_exempt6", "_limit", "limited")

    def __init__(self, settings: SourceSettings) -> None:
        self._counts: dict[bytes, int] = {}
        self._clients: dict[int, bytes] = {}
        self.limited = False
        """Whether there is a limit: else nobody needs to be admitted."""
        self.configure(settings)

    def __len__(self) -> int:
        """Sources that are counted at the moment."""
        return len(self._counts)

    def configure(self, settings: SourceSettings) -> None:
        """Judge by these from now on; counts go on.

        Clients from a time without limit are not counted, so after one is set it is reached later
        than it should be, until these have gone: seconds. Raises ``ValueError`` for an exempt IPv6
        network that is less than a source.
        """
        self._limit = settings.half_open_limit
        self.limited = self._limit is not None
        four = (each for each in settings.exempt if isinstance(each, IPv4Network))
        six = (each for each in settings.exempt if isinstance(each, IPv6Network))
        self._exempt4 = _Ranges(collapse_addresses(four), _IPV4_BYTES)
        self._exempt6 = _Ranges(collapse_addresses(six), _PREFIX_BYTES)

    def enter(self, descriptor: int, five_tuple: bytes, pressed: bool) -> bool:
        """``admit`` a client until it leaves; one without a source always may stay."""
        source = source_of(five_tuple)
        if source is None or not self.limited:
            return True
        if not self.admit(source, pressed):
            return False
        self._clients[descriptor] = source
        return True

    def leave(self, descriptor: int) -> None:
        """Whoever has this descriptor has replied, or is gone."""
        if self._clients:
            self.release(self._clients.pop(descriptor, None))

    def admit(self, source: bytes | None, pressed: bool) -> bool:
        """Count a client; False, and not counted: its source has its limit while we are pressed."""
        limit = self._limit
        if limit is None or source is None:
            return True
        count = self._counts.get(source, 0)
        if pressed and count >= limit and not self._is_exempt(source):
            return False
        self._counts[source] = count + 1
        return True

    def release(self, source: bytes | None) -> None:
        """A client that was admitted has replied, or is gone."""
        counts = self._counts
        if not counts or source is None:
            return
        count = counts.get(source, 0)
        if count > 1:
            counts[source] = count - 1
        elif count:
            del counts[source]

    def _is_exempt(self, source: bytes) -> bool:
        # Only of sources at their limit: a search costs more than all of the counting.
        return source in (self._exempt4 if len(source) == _IPV4_BYTES else self._exempt6)


class _Ranges:
    """Disjoint networks as their first and last sources, in order: bytes compare like numbers."""

    __slots__ = ("_first", "_last")

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network], size: int) -> None:
        self._first: list[bytes] = []
        self._last: list[bytes] = []
        for network in networks:
            if network.prefixlen > 8 * size:
                raise ValueError(f"{network} is less than a source, which is a /{8 * size}")
            self._first.append(network.network_address.packed[:size])
            self._last.append(network.broadcast_address.packed[:size])

    def __contains__(self, source: bytes) -> bool:
        at = bisect_right(self._first, source)
        return at > 0 and source <= self._last[at - 1]
