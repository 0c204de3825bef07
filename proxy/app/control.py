"""A control socket on the loop: one end of the socketpair between the supervisor and one child.

Owns the socket. Rules: sending never blocks, what the socket does not take waits in a bounded queue
with its own copies of the descriptors; receiving hands over whole messages; truncation, a message
that cannot be read, a full queue and a reset all end the channel exactly as EOF does, since on an
ordered private channel nothing after them can be trusted. `on_closed` is called once. So that a
child whose clients hold every descriptor does not lose its channel that way, it keeps some back.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

import structlog

from proxy.app.messages import ControlError, Message, Packet, decode, encode
from proxy.handoff import Reserve, close_all, receive_message, send_message

__all__ = ["ControlChannel"]

_log = structlog.get_logger("vestibule.control")

_QUEUE_LIMIT = 256
"""Messages a peer may leave unread beyond its socket buffer: a healthy one leaves none."""

_BATCH = 32
"""Messages handled in one loop turn, so that a chatty child cannot starve the others."""


class ControlChannel:
    """One end of a control socket."""

    def __init__(
        self,
        endpoint: socket.socket,
        on_message: Callable[[Message], None],
        on_closed: Callable[[], None],
        *,
        spare_descriptors: int = 0,
    ) -> None:
        """`spare_descriptors` are kept for what the next message brings; as many as the largest
        one brought so far, where that were more."""
        endpoint.setblocking(False)
        self._socket = endpoint
        self._on_message = on_message
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Packet] = deque()
        self._open = True
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._reserve = Reserve()
        self._spares = spare_descriptors
        self._reserve.fill(self._spares)
        self._loop.add_reader(endpoint.fileno(), self._readable)

    def send(self, message: Message) -> None:
        """Send or queue; a message to a closed channel is dropped (its reader is gone)."""
        if not self._open:
            return
        packet = encode(message)
        try:
            if self._queue or not self._sent(packet):
                self._enqueue(packet)
        finally:
            close_all(packet.owned)

    async def flushed(self) -> None:
        """Wait until everything queued has been sent or the channel has closed."""
        await self._flushed.wait()

    def close(self) -> None:
        """Close this end; `on_closed` is not called."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._reserve.close()
        self._flushed.set()
        while self._queue:
            close_all(self._queue.popleft().owned)

    def _fail(self, reason: str) -> None:
        if self._open:
            if reason:
                _log.error("control_channel_failed", reason=reason)
            self.close()
            self._on_closed()

    def _sent(self, packet: Packet) -> bool:
        try:
            send_message(self._socket, packet.payload, packet.descriptors)
        except BlockingIOError:
            return False
        except OSError:
            # The peer is gone. What it had sent before is still to be read, so the reader,
            # which meets EOF after it, ends the channel.
            return True
        return True

    def _enqueue(self, packet: Packet) -> None:
        if len(self._queue) >= _QUEUE_LIMIT:
            self._loop.call_soon(self._fail, "the peer does not read")
            return
        copies = tuple(os.dup(descriptor) for descriptor in packet.descriptors)
        self._queue.append(Packet(packet.payload, copies, copies))
        self._flushed.clear()
        self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        while self._queue and self._sent(self._queue[0]):
            close_all(self._queue.popleft().owned)
        if not self._queue:
            self._loop.remove_writer(self._socket.fileno())
            self._flushed.set()

    def _readable(self) -> None:
        for _ in range(_BATCH):
            if not self._open:
                return
            try:
                message = self._received()
            except BlockingIOError:
                return
            except ConnectionResetError:
                # The peer died with messages of ours unread. The kernel says so once; what it
                # had sent is still queued behind, and then EOF.
                continue
            except (OSError, ControlError) as error:
                self._fail(str(error))
                return
            if message is None:
                self._fail("")
                return
            self._on_message(message)

    def _received(self) -> Message | None:
        self._reserve.close()
        try:
            return self._decoded()
        finally:
            self._reserve.fill(self._spares)

    def _decoded(self) -> Message | None:
        received = receive_message(self._socket)
        if self._spares:
            self._spares = max(self._spares, len(received.descriptors))
        if received.truncated:
            raise ControlError("a message arrived truncated")
        if not received.message:
            close_all(received.descriptors)
            return None
        return decode(received.message, received.descriptors)
