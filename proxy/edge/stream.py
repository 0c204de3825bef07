"""A bare descriptor on the loop, with the session that protects it and our own send buffer.

Owns the descriptor: closes it, or gives it away (`detach`). Rules:

- One task reads and one writes at a time; the two do not disturb each other.
- A direction that ended leaves the other open; a session that failed ends both.
- Whatever happens in a callback of the loop ends this stream at most, never the loop's turn.
- The registration goes before the descriptor: epoll would keep it otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any

from proxy.edge.buffers import PLAINTEXT_BYTES, RECEIVE_BYTES
from proxy.edge.errors import CLOSED, StreamError
from proxy.edge.receiver import Receiver
from proxy.edge.sender import Sender
from proxy.edge.session import Session, SessionError

# What the socket did not take, per stream, before a writer waits until it has taken everything.
HIGH_WATER = 256 * 1024

# Protected at once; a larger write looks at the high-water mark between pieces.
WRITE_PIECE = PLAINTEXT_BYTES

# The most that `finish` joins with close_notify: to copy more costs more than a packet.
FINISH_PIECE = 16 * 1024

_LINGER_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Detached:
    """A connection that left its stream: its new owner has to close the descriptor."""

    descriptor: int
    session: Session
    unread: bytes
    """Plaintext that arrived and was not read."""
    unsent: bytes
    """Protected bytes that the socket did not take yet."""


class Stream:
    """One connection: reads and writes plaintext through its session."""

    __slots__ = ("_closed", "_high_water", "_receiver", "_sender", "_session", "_socket")

    def __init__(
        self,
        descriptor: int,
        session: Session,
        *,
        received: bytes = b"",
        unsent: bytes = b"",
        high_water: int = HIGH_WATER,
    ) -> None:
        """Take over a connected stream socket, in the running loop.

        `received` is plaintext that came before; what the session itself still holds follows
        it. `unsent` are protected bytes that go out first: with the next write if that comes in
        this turn of the loop, else without it.
        """
        loop = asyncio.get_running_loop()
        # The bare class: what `socket.socket` adds is for makefile and enums, and costs as much.
        self._socket = socket.SocketType(-1, socket.SOCK_STREAM, 0, descriptor)
        self._socket.setblocking(False)
        self._session = session
        self._high_water = high_water
        self._closed = False
        self._sender = Sender(loop, self._socket)
        self._sender.queue(unsent)
        self._receiver = Receiver(loop, self._socket, session, self._sender, received)

    @property
    def session(self) -> Session:
        """The session, for the facts it knows."""
        return self._session

    @property
    def descriptor(self) -> int:
        """The socket's descriptor, -1 when gone; it stays the stream's."""
        return self._socket.fileno()

    @property
    def addresses(self) -> tuple[Any, Any]:
        """The peer's and our own, as `socket` has them. Raises OSError if the peer has gone."""
        return self._socket.getpeername(), self._socket.getsockname()

    @property
    def closed(self) -> bool:
        """Closed, aborted or detached: the descriptor is gone."""
        return self._closed

    @property
    def unsent(self) -> int:
        """Protected bytes that the socket has not taken yet."""
        return self._sender.unsent

    @property
    def quiet(self) -> bool:
        """Open both ways with nothing unread or unsent: fit for another exchange."""
        receiver, sender = self._receiver, self._sender
        return (
            receiver.end is None
            and not receiver.unread
            and sender.refusal is None
            and not sender.unsent
        )

    @property
    def idle(self) -> bool:
        """`quiet`, and the kernel has nothing for us either: neither bytes nor an end."""
        if not self.quiet:
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    @property
    def broken(self) -> bool:
        """The peer's end was not clean: a read raises once what came before it is read."""
        return bool(self._receiver.end)

    def read(self, timeout_s: float | None = None) -> Coroutine[Any, Any, bytes]:
        """Return what plaintext is there, waiting for some; b"" at the peer's clean end.

        Raises TimeoutError after `timeout_s` seconds of silence, and StreamError. A timeout
        leaves the stream as it was; so does cancellation, which loses no byte.
        """
        return self._receiver.read(timeout_s)

    def read_view(
        self, timeout_s: float | None = None, sink: Stream | None = None
    ) -> Coroutine[Any, Any, bytes | memoryview]:
        """`read` without a copy, for bulk: use up what it returns before anything is awaited.

        The bytes are in a buffer of all streams of the loop. `write` counts as using them up, as
        it has protected them before it waits. `sink` is where they go: no more are taken than its
        socket is likely to take at once, since the rest would wait in our memory.
        """
        most = RECEIVE_BYTES if sink is None else sink._sender.appetite
        return self._receiver.read_view(timeout_s, most)

    def unread(self, data: bytes) -> None:
        """Push back plaintext; the next read returns it first."""
        self._receiver.push_back(data)

    def when_readable(self, callback: Callable[[], None] | None) -> None:
        """Call back once when a read would return or raise, though nobody reads; None: do not.

        Protected bytes without plaintext (tickets, key updates) do not count. What is there
        already is not reported: see `quiet`.
        """
        self._receiver.when_readable(callback)

    async def write(self, plaintext: bytes | memoryview, timeout_s: float | None = None) -> None:
        """Send plaintext: at once what the socket takes, the rest as it takes more.

        Waits only if more than the high-water mark is unsent, and then for all of it: what waits
        is less than two pieces. Raises StreamError, and
        TimeoutError when the peer took nothing for `timeout_s` seconds; after that, or when
        cancelled, an unknown part of the plaintext is on its way and only closing makes sense.
        """
        sender = self._sender
        if len(plaintext) <= WRITE_PIECE:
            self._send(plaintext)
            if sender.unsent > self._high_water:
                await sender.wait(0, timeout_s)
            return
        view = memoryview(plaintext)
        for start in range(0, len(view), WRITE_PIECE):
            self._send(view[start : start + WRITE_PIECE])
            if sender.unsent > self._high_water:
                await sender.wait(0, timeout_s)

    async def finish(self, plaintext: bytes | memoryview, timeout_s: float | None = None) -> None:
        """`write` of the last plaintext; `aclose` has to follow at once.

        Where it is small it leaves in one piece with close_notify, and the kernel may keep it
        back until `aclose` adds FIN: one packet to make and to take instead of three.
        """
        sender = self._sender
        if len(plaintext) > FINISH_PIECE or sender.refusal is not None:
            await self.write(plaintext, timeout_s)
            return
        sender.put(bytes(self._protected(plaintext)) + self._session.close(), more=True)
        sender.seal(CLOSED)

    async def drain(self, timeout_s: float | None = None) -> None:
        """Wait until the socket took everything; errors as `write`."""
        await self._sender.wait(0, timeout_s)

    async def close_write(self, timeout_s: float | None = None) -> None:
        """Say that nothing more comes (close_notify and FIN) once everything is out.

        Reading goes on. Errors as `write`; a second call does nothing.
        """
        if self._sender.refusal == CLOSED:
            return
        self._end_session()
        await self._sender.wait(0, timeout_s)
        self._shutdown()

    async def aclose(self, timeout_s: float) -> None:
        """Close cleanly: everything out, close_notify, FIN, then the descriptor.

        Waits for the peer's end too, discarding what it still sends: closing with bytes unread
        makes the kernel reset the connection, and the peer may lose our last bytes (RFC 9112,
        Section 9.6). After `timeout_s` seconds, or when cancelled, closes at once. Never raises
        for the peer's doing.
        """
        if self._closed:
            return
        clean = False
        until = monotonic() + timeout_s
        try:
            if self._sender.refusal is None:
                self._end_session()
            if self._sender.unsent:
                async with asyncio.timeout(timeout_s):
                    await self._sender.wait(0, None)
            self._sender.check()
            clean = True
            self._shutdown()
            await self._receiver.discard(until)
        except (StreamError, TimeoutError):
            pass
        finally:
            self._close(reset=not clean)

    def close(self) -> None:
        """Close at once but politely: what is unsent and close_notify, as far as they go now."""
        if self._sender.refusal is None:
            with contextlib.suppress(StreamError):
                self._end_session()
        self._close(reset=self._sender.unsent > 0)

    def abort(self) -> None:
        """Close at once, by a reset: the peer must not take this for an end of the data."""
        # An alert that told the peer why must not be overtaken by the reset.
        told = self._sender.refusal not in {None, CLOSED} and not self._sender.unsent
        self._close(reset=not told)

    def detach(self) -> Detached:
        """Give the connection away; the stream is closed, the descriptor stays open.

        Only while both directions are open and no task waits: RuntimeError otherwise.
        """
        if self._receiver.end is not None or self._sender.refusal is not None:
            raise RuntimeError("only an open connection can be detached")
        if self._receiver.waited_for or self._sender.waited_for:
            raise RuntimeError("a task waits for this stream")
        unread = self._receiver.take()
        unsent = self._release()
        return Detached(self._socket.detach(), self._session, unread, unsent)

    def _send(self, plaintext: bytes | memoryview) -> None:
        if self._sender.refusal is not None:
            raise StreamError(self._sender.refusal)
        self._sender.put(self._protected(plaintext))

    def _protected(self, plaintext: bytes | memoryview) -> bytes | bytearray | memoryview:
        try:
            return self._session.send(plaintext)
        except SessionError as error:
            self._receiver.refuse(error)
            raise StreamError(error.reason) from error

    def _end_session(self) -> None:
        if self._sender.refusal is not None:
            raise StreamError(self._sender.refusal)
        self._sender.put(self._session.close())
        self._sender.seal(CLOSED)

    def _shutdown(self) -> None:
        with contextlib.suppress(OSError):  # the peer has gone: a read will tell
            self._socket.shutdown(socket.SHUT_WR)

    def _close(self, *, reset: bool) -> None:
        if self._closed:
            return
        self._release()
        if reset:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._socket.close()

    def _release(self) -> bytes:
        """Let go of the loop and of whoever waits; return what was not sent."""
        self._closed = True
        self._receiver.stop(CLOSED)
        return self._sender.stop(CLOSED)
