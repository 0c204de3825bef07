"""Bytes that the kernel has not taken yet, as views of what was written.

We own what is unsent (a transport would not give it back), so that a live connection can leave
with it for another process. Only small pieces are copied, when there are many: each is an object
of ten times its size, which a peer that takes nothing must not be able to pile up.
"""

from __future__ import annotations

import socket
from collections import deque

# Linux takes at most 1024 in one call (UIO_MAXIOV); a few dozen are as good.
MAX_PIECES = 64


class SendBuffer:
    """A queue of bytes-like pieces, drained by `send_to`."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        self.size = 0
        """Bytes that wait."""

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes that must not change any more."""
        if data:
            if len(self._pieces) == MAX_PIECES:
                self._join()
            self._pieces.append(memoryview(data))
            self.size += len(data)

    def send_to(self, sock: socket.SocketType) -> int:
        """One system call; how many bytes the socket took. Raises what the socket raises."""
        pieces = self._pieces
        sent = sock.send(pieces[0]) if len(pieces) == 1 else sock.sendmsg(pieces)
        self._consume(sent)
        return sent

    def take(self) -> bytes:
        """Everything that waits, joined; the buffer is empty afterwards."""
        data = b"".join(self._pieces)
        self.clear()
        return data

    def clear(self) -> None:
        """Forget what waits."""
        self._pieces.clear()
        self.size = 0

    def _join(self) -> None:
        whole = memoryview(b"".join(self._pieces))
        self._pieces.clear()
        self._pieces.append(whole)

    def _consume(self, count: int) -> None:
        self.size -= count
        pieces = self._pieces
        while count:
            first = pieces[0]
            if len(first) > count:
                pieces[0] = first[count:]
                return
            count -= len(first)
            pieces.popleft()
