"""What goes to clients that are not established: flights, retries, alerts, and the rest of them.

A flight nearly always fits the empty send buffer and nothing is kept; what does not fit waits here
for room, watched in the same epoll.
"""

import os
import select
import socket
from typing import Final

__all__ = ["Outgoing"]

_IN: Final = select.EPOLLIN
_IN_AND_OUT: Final = select.EPOLLIN | select.EPOLLOUT


class Outgoing:
    """Bytes on their way to the clients that ``epoll`` watches. A reset raises ``OSError``."""

    __slots__ = ("_epoll", "_unsent")

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._unsent: dict[int, bytes] = {}

    def __len__(self) -> int:
        """Clients whose send buffer has not taken everything."""
        return len(self._unsent)

    def send(self, descriptor: int, data: bytes) -> None:
        """Send behind what waits already."""
        if descriptor in self._unsent:
            self._unsent[descriptor] += data
            return
        sent = _write(descriptor, data)
        if sent < len(data):
            self._unsent[descriptor] = data[sent:]
            self._epoll.modify(descriptor, _IN_AND_OUT)

    def flush(self, descriptor: int) -> None:
        """There is room in the send buffer again."""
        unsent = self._unsent.pop(descriptor, b"")
        sent = _write(descriptor, unsent)
        if sent < len(unsent):
            self._unsent[descriptor] = unsent[sent:]
        else:
            self._epoll.modify(descriptor, _IN)

    def close(self, descriptor: int) -> None:
        """Nothing follows: FIN behind what the kernel has. It can still be read from."""
        connection = socket.socket(fileno=descriptor)
        try:
            connection.shutdown(socket.SHUT_WR)
        finally:
            connection.detach()

    def forget(self, descriptor: int) -> None:
        """The client is gone, or somebody else's."""
        if self._unsent:
            self._unsent.pop(descriptor, None)


def _write(descriptor: int, data: bytes) -> int:
    """How many bytes the kernel took."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
