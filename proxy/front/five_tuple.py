"""A connection's identity: protocol, both addresses and both ports, packed.

It is the socket's own 5-tuple, whatever a PROXY header may say. A UNIX connection has no
addresses; a counter stands for them.
"""

import socket
from itertools import count
from typing import Final

from proxy.front.settings import Family

__all__ = ["FiveTuples"]

_TCP4: Final = b"\x04"
_TCP6: Final = b"\x06"
_UNIX: Final = b"\x01"
# Of this process: listening sockets of one listener share its handshake table.
_unix_connections: Final = count()


class FiveTuples:
    """Makes the keys of the connections that one listening socket accepts."""

    __slots__ = ("_family", "_local")

    def __init__(self, listener: socket.socket, family: Family) -> None:
        self._family = family
        self._local: bytes | None = None
        if family is not Family.UNIX:
            host, port = listener.getsockname()[:2]
            if host not in ("0.0.0.0", "::"):
                self._local = self._pack(host, port)

    def of(self, descriptor: int, peer: object) -> bytes:
        """The key of an accepted connection; ``peer`` is what accept() returned.

        Raises ``OSError`` where the connection is gone already.
        """
        if self._family is Family.UNIX or not isinstance(peer, tuple):
            return _UNIX + next(_unix_connections).to_bytes(8)
        local = self._local
        if local is None:
            # A wildcard address: which one the client came to is known to its own socket only.
            connection = socket.socket(fileno=descriptor)
            try:
                host, port = connection.getsockname()[:2]
            finally:
                connection.detach()
            local = self._pack(host, port)
        remote = self._pack(peer[0], peer[1])
        return (_TCP4 if self._family is Family.INET else _TCP6) + remote + local

    def _pack(self, host: str, port: int) -> bytes:
        if self._family is Family.INET:
            return socket.inet_aton(host) + port.to_bytes(2)
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0]) + port.to_bytes(2)
