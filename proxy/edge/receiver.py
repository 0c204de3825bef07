"""The receiving half of a stream: bytes from the socket, through the session, to who reads.

Rules: the reader stays registered from one read to the next, because registering costs more than
a read. It is taken off only while `READ_AHEAD` bytes wait that nobody asked for: from then on
back-pressure is the kernel's. What arrived before an end is delivered before it. One task reads
at a time.

libuv stops watching a descriptor when epoll reports an error on it, and calls back just once. If
data came with the reset, that one callback reads the data and no other would tell of the reset;
so the socket is asked for its error behind every read that got data, and so is the sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from time import monotonic
from typing import TypeAlias

from proxy.edge.buffers import RECEIVE_BYTES, RECORD_BYTES, buffers
from proxy.edge.deadline import Deadline
from proxy.edge.errors import INTERNAL_ERROR, StreamError, reason_of, report
from proxy.edge.sender import Sender
from proxy.edge.session import Session, SessionError
from proxy.tls import ApplicationData

# As long as less than half of what arrives is plaintext. KeyUpdates, empty records and those of a
# few bytes cost up to a hundred times as much per byte as full ones, and everybody else waits for
# the end of the turn: 262 KB of KeyUpdates are 90 ms, 4 KiB are 1.4.
WARY_BYTES = 4096

# For a reader who gets a copy: copies of more do not stay in the processor's cache.
READ_BYTES = 16 * 16384

# Taken from the kernel though nobody reads: enough to notice a pipelined request or the end.
READ_AHEAD = 64 * 1024

# Plaintext that waits is kept in so many pieces at most: a record of one byte costs an object.
MAX_PIECES = 64

# Answers that `receive` owed and the peer did not fetch: it may not grow our memory with them.
MAX_OWED = 64 * 1024

_Decode: TypeAlias = Callable[[memoryview], memoryview | None]


class Receiver:
    """Receives on a socket that stays its owner's; `stop` before that closes it."""

    __slots__ = (
        "_deadline",
        "_discarding",
        "_limit",
        "_loop",
        "_on_demand",
        "_on_readable",
        "_opened",
        "_owed",
        "_received",
        "_reset",
        "_sender",
        "_session",
        "_socket",
        "_unread",
        "_unread_size",
        "_waiter",
        "_watching",
        "end",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.SocketType,
        session: Session,
        sender: Sender,
        received: bytes,
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._session = session
        self._sender = sender
        self._received = buffers.received
        self._opened = buffers.opened
        self._unread = [received] if received else []
        self._unread_size = len(received)
        self._owed = 0
        # What the next read takes at most; a stream has to earn more than one record.
        self._limit = RECORD_BYTES
        self._watching = False
        # Why the connection broke, while there may be bytes in the kernel from before.
        self._reset: str | None = None
        self._discarding = False
        self._waiter: asyncio.Future[None] | None = None
        # Who waits receives by himself, as he uses a shared buffer.
        self._on_demand = False
        self._deadline = Deadline(loop, self._timed_out)
        self._on_readable: Callable[[], None] | None = None
        self.end: str | None = None
        """Why nothing more will be received; "" is the clean end."""
        # The session may have bytes from before: a moved connection, or a handshake's last read.
        self._guarded(self._decode, memoryview(b""))

    @property
    def unread(self) -> int:
        """Bytes of plaintext that wait for a reader."""
        return self._unread_size

    @property
    def waited_for(self) -> bool:
        """A task waits in `read`."""
        return self._waiter is not None

    async def read(self, timeout_s: float | None) -> bytes:
        """See `Stream.read`."""
        if not self._unread and self.end is None:
            await self._wait(timeout_s)
        if self._unread:
            return self.take()
        if self.end:
            raise StreamError(self.end)
        return b""

    async def read_view(self, timeout_s: float | None, most: int) -> bytes | memoryview:
        """See `Stream.read_view`."""
        while not self._unread and self.end is None:
            began = monotonic()
            await self._wait(timeout_s, on_demand=True)
            if not self._unread and self.end is None:
                plaintext = self._receive(self._decode_view, min(self._limit, most))
                if plaintext:
                    return plaintext
            if timeout_s is not None:
                timeout_s = max(0.0, timeout_s - (monotonic() - began))
        return await self.read(timeout_s)

    def take(self) -> bytes:
        """Everything that is there."""
        unread = self._unread
        data = unread[0] if len(unread) == 1 else b"".join(unread)
        unread.clear()
        self._unread_size = 0
        return data

    def push_back(self, data: bytes) -> None:
        """The next read returns this first."""
        if data:
            self._unread.insert(0, data)
            self._unread_size += len(data)

    def when_readable(self, callback: Callable[[], None] | None) -> None:
        """See `Stream.when_readable`."""
        self._on_readable = callback
        if callback is not None:
            self._expect()

    async def discard(self, until: float) -> None:
        """Throw away what arrives until the peer's end, without opening it.

        Raises TimeoutError at monotonic time `until`.
        """
        self._discarding = True
        self.take()
        while self.end is None and self._waiter is None:
            await self._wait(max(0.0, until - monotonic()))

    def refuse(self, error: SessionError) -> None:
        """The session failed: the alert it left is the last that goes out."""
        self._finish(error.reason)
        with contextlib.suppress(StreamError):
            self._sender.put(self._session.data_to_send())
        self._sender.seal(error.reason)

    def stop(self, reason: str) -> None:
        """Let go of loop and socket; who reads is told the reason."""
        self._finish(reason)
        self._deadline.cancel()
        self._on_readable = None
        self._wake()

    async def _wait(self, timeout_s: float | None, *, on_demand: bool = False) -> None:
        if self._waiter is not None:
            raise RuntimeError("another task reads this stream")
        self._on_demand = on_demand
        self._waiter = self._loop.create_future()
        self._expect()
        if timeout_s is not None:
            self._deadline.set(timeout_s)
        try:
            await self._waiter
        except BaseException:
            if self._on_demand:
                # He was perhaps told of what the loop tells once: see above.
                self._loop.call_soon(self._readable)
            raise
        finally:
            self._waiter = None
            self._on_demand = False
            self._deadline.clear()

    def _timed_out(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError("nothing to read in time"))

    def _expect(self) -> None:
        """Have the loop call back, which it does not any more for a connection that broke."""
        if self._reset is None:
            self._watch()
        else:
            self._loop.call_soon(self._readable)

    def _watch(self) -> None:
        if not self._watching and self.end is None and self._reset is None:
            self._watching = True
            self._loop.add_reader(self._socket.fileno(), self._readable)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._socket.fileno())

    def _wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif self._on_readable is not None:
            callback, self._on_readable = self._on_readable, None
            callback()

    def _readable(self) -> None:
        if self.end is not None:
            return
        if self._on_demand:
            self._wake()
            return
        if self._waiter is None and self._unread_size >= READ_AHEAD:
            self._unwatch()
            return
        limit = READ_AHEAD if self._waiter is None else READ_BYTES
        self._receive(self._decode, min(self._limit, limit))
        if self._unread or self.end is not None:
            self._wake()
        elif self._reset is not None:
            # Nothing will call back for the rest; once there is plaintext, the next wait does.
            self._loop.call_soon(self._readable)

    def _receive(self, decode: _Decode, limit: int) -> memoryview | None:
        """One system call; what `decode` made of what it brought."""
        try:
            count = self._socket.recv_into(self._received, limit)
        except BlockingIOError:
            return None
        except OSError as error:
            self._fail(reason_of(error))
            return None
        if not count:
            self._receive_eof()
            return None
        plaintext = None
        if not self._discarding:
            had = self._unread_size
            plaintext = self._guarded(decode, self._received[:count])
            gained = self._unread_size - had if plaintext is None else len(plaintext)
            self._limit = RECEIVE_BYTES if 2 * gained >= count else WARY_BYTES
        if error_number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._sender.fail(reason_of(OSError(error_number, "the connection broke")))
        if self._sender.failure is not None:
            # Or an answer that the session owed has met the error, and taken it away.
            self._reset = self._sender.failure
            self._unwatch()
        return plaintext

    def _guarded(self, decode: _Decode, data: memoryview) -> memoryview | None:
        try:
            return decode(data)
        except SessionError as error:
            self.refuse(error)
        except Exception as error:  # a defect of ours must not end the loop's turn for others
            report(self._loop, error)
            self._fail(INTERNAL_ERROR)
        return None

    def _decode(self, data: memoryview) -> None:
        for event in self._session.receive(data):
            if not isinstance(event, ApplicationData):
                # RFC 8446, Section 6.1: data after a closure alert MUST be ignored.
                self._finish("")
                break
            if event.data:
                self._unread.append(event.data)
                self._unread_size += len(event.data)
        if len(self._unread) > MAX_PIECES:
            self._unread[:] = [b"".join(self._unread)]
        owed = self._session.data_to_send()
        if owed:
            self._send_owed(owed)

    def _decode_view(self, data: memoryview) -> memoryview:
        plaintext, ended = self._session.receive_view(data, self._opened)
        if ended:
            self._finish("")
        owed = self._session.data_to_send()
        if owed:
            self._send_owed(owed)
        return plaintext

    def _send_owed(self, data: bytes) -> None:
        self._owed = self._owed + len(data) if self._sender.unsent else len(data)
        if self._owed > MAX_OWED:
            self._fail("answers_not_fetched")
            return
        # Nobody waits to be told that sending fails, or that we ended our direction
        # (RFC 8446, Section 6.1: nothing may follow our close_notify).
        with contextlib.suppress(StreamError):
            self._sender.put(data)

    def _receive_eof(self) -> None:
        # The kernel reports a reset once: then to us or to the write that met it. FIN it is not.
        reset = self._reset or self._sender.failure
        if reset is not None:
            self._finish(reset)
            return
        try:
            self._session.receive_eof()
        except SessionError as error:
            self._finish(error.reason)
        else:
            self._finish("")

    def _finish(self, reason: str) -> None:
        if self.end is None:
            self.end = reason
        self._unwatch()

    def _fail(self, reason: str) -> None:
        self._finish(reason)
        self._sender.fail(reason)
