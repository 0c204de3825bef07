"""A connection's identity: protocol, both addresses and both ports, packed.

It is the socket's own 5-tuple, whatever a PROXY header may say. A UNIX connection has no
addresses; a counter stands for them.
"""

import socket
from itertools import count
from typing import Final

from proxy.front.settings import Family

__all__ = ["FiveTuples", "SocketTuples"]

_TCP4: Final = b"\x04"
_TCP6: Final = b"\x06"
_UNIX: Final = b"\x01"
_WILDCARDS: Final = ("0.0.0.0", "::")
# Of this process: listening sockets of one listener share its handshake table.
_unix_connections: Final = count()


class FiveTuples:
    """Makes the keys of connections; with ``listener``, of those which that socket accepts."""

    __slots__ = ("_is_unix", "_local", "_tcp4")

    def __init__(self, family: Family, listener: socket.socket | None = None) -> None:
        self._is_unix = family is Family.UNIX
        self._tcp4 = family is Family.INET
        self._local: bytes | None = None
        if listener is not None and not self._is_unix:
            host, port = listener.getsockname()[:2]
            if host not in _WILDCARDS:
                self._local = self._pack(host, port)

    @property
    def lasting(self) -> bool:
        """Whether the same key can be made again: else it has to be kept."""
        return not self._is_unix

    def of(self, descriptor: int, peer: object = None) -> bytes:
        """The key of a connection; ``peer`` is what accept() returned, where that is known.

        Raises ``OSError`` where the connection is gone already.
        """
        if self._is_unix:
            return _UNIX + next(_unix_connections).to_bytes(8)
        local = self._local
        if local is None or not isinstance(peer, tuple):
            local, peer = self._ask(descriptor)
        remote = self._pack(peer[0], peer[1])
        return (_TCP4 if self._tcp4 else _TCP6) + remote + local

    def _ask(self, descriptor: int) -> tuple[bytes, tuple[str, int]]:
        """The socket itself: which wildcard address its client came to, and who that is."""
        family = socket.AF_INET if self._tcp4 else socket.AF_INET6
        connection = socket.socket(family, socket.SOCK_STREAM, 0, descriptor)
        try:
            local = self._local or self._pack(*connection.getsockname()[:2])
            host, port = connection.getpeername()[:2]
            return local, (host, port)
        finally:
            connection.detach()

    def _pack(self, host: str, port: int) -> bytes:
        if self._tcp4:
            return socket.inet_aton(host) + port.to_bytes(2)
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0]) + port.to_bytes(2)


class SocketTuples:
    """Makes the keys of connections that another process accepted, of whichever family."""

    __slots__ = ()

    lasting = False

    def of(self, descriptor: int, _peer: object = None) -> bytes:
        """The key of a connection. Raises ``OSError`` where it is gone already."""
        connection = socket.socket(fileno=descriptor)
        try:
            return _FAMILIES[connection.family].of(descriptor)
        finally:
            connection.detach()


_FAMILIES: Final = {
    socket.AF_INET: FiveTuples(Family.INET),
    socket.AF_INET6: FiveTuples(Family.INET6),
    socket.AF_UNIX: FiveTuples(Family.UNIX),
}
