"""The sending half of a stream: protected bytes to the socket, and the wait for a slow peer.

Rules: bytes go to the socket at once, and only what it does not take is queued; the loop watches
for writability only while something is queued. One task waits at a time.
"""

from __future__ import annotations

import asyncio
import socket

from proxy.edge.buffers import RECEIVE_BYTES
from proxy.edge.deadline import Deadline
from proxy.edge.errors import INTERNAL_ERROR, StreamError, reason_of, report
from proxy.edge.sendbuffer import SendBuffer

LEAST_APPETITE = 64 * 1024


class Sender:
    """Sends on a socket that stays its owner's; `stop` before that closes it."""

    __slots__ = (
        "_buffer",
        "_deadline",
        "_level",
        "_loop",
        "_socket",
        "_timeout_s",
        "_waiter",
        "_watching",
        "appetite",
        "failure",
        "refusal",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.SocketType) -> None:
        self._loop = loop
        self._socket = sock
        self._buffer = SendBuffer()
        self._watching = False
        self._waiter: asyncio.Future[None] | None = None
        self._level = 0
        self._timeout_s: float | None = None
        # Made when first waited for: most connections end without.
        self._deadline: Deadline | None = None
        self.appetite = LEAST_APPETITE
        """Bytes to offer next: so many are likely to be taken. Else they wait in our memory."""
        self.failure: str | None = None
        """Why the socket takes nothing more."""
        self.refusal: str | None = None
        """Why `put` takes nothing more; what is queued may still go out."""

    @property
    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return self._buffer.size

    @property
    def waited_for(self) -> bool:
        """A task waits in `wait`."""
        return self._waiter is not None

    def put(self, data: bytes | bytearray | memoryview, *, more: bool = False) -> None:
        """Send, or queue behind what is queued already. Raises StreamError.

        What of a view cannot be sent now is copied: its buffer belongs to the caller.
        `more`: FIN follows at once, and the kernel may wait for it (200 ms at most).
        """
        if self.refusal is not None:
            raise StreamError(self.refusal)
        if self._watching:
            self._buffer.append(_kept(data, 0))
            return
        if not data:
            return
        try:
            sent = self._socket.send(data, socket.MSG_MORE) if more else self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.fail(reason_of(error))
            raise StreamError(reason_of(error)) from error
        if sent < len(data):
            self.appetite = max(LEAST_APPETITE, self.appetite // 2)
            self.queue(_kept(data, sent))
        elif sent >= self.appetite:
            self.appetite = min(2 * self.appetite, RECEIVE_BYTES)

    def queue(self, data: bytes | bytearray | memoryview) -> None:
        """Send from the loop's next turn on, in one piece with what is put until then."""
        self._buffer.append(data)
        if not self._watching and self._buffer.size:
            self._watching = True
            self._loop.add_writer(self._socket.fileno(), self._writable)

    async def wait(self, level: int, timeout_s: float | None) -> None:
        """Wait until at most `level` bytes are unsent.

        Raises StreamError, and TimeoutError when the socket took nothing for `timeout_s`.
        """
        if self._waiter is not None:
            raise RuntimeError("another task writes to this stream")
        if self._buffer.size > level:
            self._level = level
            self._timeout_s = timeout_s
            if timeout_s is not None:
                self._set_deadline(timeout_s)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
                if self._deadline is not None:
                    self._deadline.clear()
        self.check()

    def check(self) -> None:
        """Raises StreamError where nothing more can be sent."""
        if self.failure is not None:
            raise StreamError(self.failure)

    def seal(self, reason: str) -> None:
        """Take nothing more; what is queued goes out."""
        if self.refusal is None:
            self.refusal = reason

    def fail(self, reason: str) -> None:
        """Nothing more can be sent: forget what waits, tell who waits."""
        self.seal(reason)
        if self.failure is None:
            self.failure = reason
        self._buffer.clear()
        self._unwatch()
        self._wake()

    def stop(self, reason: str) -> bytes:
        """Let go of socket and loop; return what was not sent."""
        unsent = self._buffer.take()
        self.fail(reason)
        if self._deadline is not None:
            self._deadline.cancel()
        return unsent

    def _set_deadline(self, timeout_s: float) -> None:
        if self._deadline is None:
            self._deadline = Deadline(self._loop, self._timed_out)
        self._deadline.set(timeout_s)

    def _writable(self) -> None:
        try:
            self._buffer.send_to(self._socket)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(reason_of(error))
            return
        except Exception as error:  # a defect of ours must not end the loop's turn for others
            report(self._loop, error)
            self.fail(INTERNAL_ERROR)
            return
        if not self._buffer.size:
            self._unwatch()
        if self._waiter is None:
            return
        if self._buffer.size <= self._level:
            self._wake()
        elif self._timeout_s is not None:
            self._set_deadline(self._timeout_s)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_writer(self._socket.fileno())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _timed_out(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError("the peer took nothing in time"))


def _kept(data: bytes | bytearray | memoryview, start: int) -> bytes | memoryview:
    """The rest of it, to be kept for later."""
    rest = memoryview(data)[start:]
    return bytes(rest) if isinstance(data, memoryview) else rest
