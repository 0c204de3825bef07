"""Bytes that the kernel has not taken yet, as views of what was written: nothing is copied twice.

We own what is unsent (a transport would not give it back), so that a live connection can leave
with it for another process.
"""

from __future__ import annotations

import socket
from collections import deque

# Linux takes at most 1024 (UIO_MAXIOV); beyond a few dozen pieces a larger call saves nothing.
MAX_PIECES_PER_CALL = 64


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
            self._pieces.append(memoryview(data))
            self.size += len(data)

    def send_to(self, sock: socket.socket) -> int:
        """One system call; how many bytes the socket took. Raises what the socket raises."""
        pieces = self._pieces
        if len(pieces) == 1:
            sent = sock.send(pieces[0])
        else:
            sent = sock.sendmsg([pieces[i] for i in range(min(len(pieces), MAX_PIECES_PER_CALL))])
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
