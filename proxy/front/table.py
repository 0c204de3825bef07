"""The handshake table: half-open handshakes by connection 5-tuple, bounded.

The keys are packed 5-tuples as ``bytes``, which Python hashes with a secret key (SipHash): a peer
that chooses its address and port does not choose its place in the table. Age is the deadline
wheel's; a slot that is taken or expires is free for the next handshake.
"""

from typing import Final

__all__ = ["HandshakeTable"]

# A dict entry with its share of the index, the key's and the value's object headers.
_ENTRY_OVERHEAD: Final = 160


class HandshakeTable:
    """At most ``limit`` packed ``HalfOpen`` values."""

    __slots__ = ("_bytes", "_entries", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: dict[bytes, bytes] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Whether ``put`` would refuse a new connection."""
        return len(self._entries) >= self.limit

    @property
    def size_bytes(self) -> int:
        """User memory of the entries, overhead of the table estimated."""
        return self._bytes + _ENTRY_OVERHEAD * len(self._entries)

    def five_tuples(self) -> tuple[bytes, ...]:
        """Whose handshakes are half-open, in the order of their hellos."""
        return tuple(self._entries)

    def put(self, five_tuple: bytes, half_open: bytes) -> bool:
        """Store or replace; false where the table is full."""
        previous = self._entries.get(five_tuple)
        if previous is None:
            if self.full:
                return False
        else:
            self._bytes -= len(previous)
        self._entries[five_tuple] = half_open
        self._bytes += len(half_open)
        return True

    def find(self, five_tuple: bytes) -> bytes | None:
        """The handshake of this connection; it stays."""
        return self._entries.get(five_tuple)

    def take(self, five_tuple: bytes) -> bytes | None:
        """The handshake of this connection; its slot is free."""
        half_open = self._entries.pop(five_tuple, None)
        if half_open is not None:
            self._bytes -= len(half_open)
        return half_open
