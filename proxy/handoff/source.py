"""The front's end of a channel: offers go out in batches, answers come back.

Owns the socket and, through its Outbox, the offers until they are answered. The loop's part is
the caller's: call `receive` when `fileno` is readable, `flush` after making offers, and `flush`
then `receive` when it is writable while `wants_write`. Rules: nothing here blocks; a socket that
takes no more leaves the batch queued, bounded by credit; the end of the channel is one Closed
event, and after it `settle` gives what nobody took.

Linux reports ECONNRESET once when a peer dies with messages unread, before what that peer had
sent can be read: acknowledgements are read past it, or accepted connections would be offered
twice. The same holds for closing this end: `end` first makes every later send of the peer fail
(shutdown(2)), then reads what it had sent before, so that no acceptance is in flight any more.
"""

from __future__ import annotations

import errno
import socket

from proxy.handoff.descriptors import close_all, is_open, send_message, sever
from proxy.handoff.errors import ChannelError, NoCredit, PayloadTooLarge
from proxy.handoff.events import Closed, CloseReason, DenialReason, Denied, Offer, SourceEvent
from proxy.handoff.frames import decode_answers
from proxy.handoff.memory import sealed
from proxy.handoff.outbox import Batch, Outbox, Settlement
from proxy.handoff.settings import MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX, ChannelSettings

__all__ = ["Source"]

_MESSAGES_PER_TURN = 64
"""Messages read at once: a worker that answers singly must not keep the front from clients."""

_LATER = frozenset({errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM})
"""Not sent, and the socket's becoming writable would not tell when to try again. ETOOMANYREFS:
more descriptors of this user are in flight than RLIMIT_NOFILE (unix(7))."""


class Source:
    """Offers connections to one worker."""

    __slots__ = (
        "_blocked",
        "_broken",
        "_closed",
        "_end_reason",
        "_events",
        "_outbox",
        "_socket",
        "_trusted",
    )

    def __init__(self, channel: socket.socket, settings: ChannelSettings) -> None:
        channel.setblocking(False)
        self._socket = channel
        half_buffer = channel.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2
        self._outbox = Outbox(min(settings.batch_bytes, half_buffer), settings.batch_descriptors)
        self._events: list[SourceEvent] = []
        self._blocked = False
        self._broken = False
        self._closed = False
        self._end_reason = CloseReason.PEER_GONE
        self._trusted = True

    @property
    def credit(self) -> int:
        """Offers that may be made now."""
        return 0 if self._broken or self._closed else self._outbox.credit

    @property
    def queued(self) -> int:
        """Offers that `flush` has still to send."""
        return self._outbox.queued

    @property
    def unanswered(self) -> int:
        """Offers sent and not yet answered."""
        return self._outbox.unanswered

    @property
    def wants_write(self) -> bool:
        """Whether to call `flush` when the socket becomes writable."""
        return self._blocked and not self._closed

    def fileno(self) -> int:
        """The channel's descriptor, for the loop; -1 once closed."""
        return self._socket.fileno()

    def offer(self, offer: Offer, now: float) -> None:
        """Queue an offer; `flush` sends it.

        Raises NoCredit, PayloadTooLarge, or OSError when a large payload's memory file cannot be
        made; the offer is then the caller's as before.
        """
        if len(offer.payload) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(f"a payload of {len(offer.payload)} bytes")
        if not self.credit:
            raise NoCredit("the worker has granted no further offers")
        memory = sealed(offer.payload) if self._outbox.needs_memory(offer.payload) else None
        self._outbox.put(offer, now, memory)

    def flush(self) -> bool:
        """Send what is queued. Returns whether all of it went out, with nothing to report.

        After False call `receive`, which reports what was found here.
        """
        self._blocked = False
        while not (self._broken or self._closed):
            batch = self._outbox.next_batch()
            if batch is None or not self._send(batch):
                break
        return not (self._outbox.queued or self._events)

    def receive(self) -> list[SourceEvent]:
        """What the worker has answered since, in order; Closed is the last event ever."""
        while not self._closed and self._read(_MESSAGES_PER_TURN) and self._broken:
            # The rest of a dead worker's words at once: uvloop stops watching a descriptor that
            # had an error (EPOLLERR), so nobody would call again.
            pass
        events, self._events = self._events, []
        return events

    def oldest_unanswered(self) -> float | None:
        """When the offer that waits longest for its answer was made; None when none does."""
        return self._outbox.oldest_unanswered()

    def end(self, reason: CloseReason = CloseReason.CLOSED_HERE) -> list[SourceEvent]:
        """End the channel from here. Returns the last events; idempotent.

        Afterwards no acceptance can arrive, nor be sent by the worker with success.
        """
        if not self._closed:
            self._end_reason = reason
            self._shutdown()
            while self._read(_MESSAGES_PER_TURN):
                pass
            self._finish(reason)
        events, self._events = self._events, []
        return events

    def settle(self) -> Settlement:
        """Give up the offers that were not answered; those condemned have been shut down.

        Ends the channel when that has not happened; call it after the last events are handled.
        """
        self._events += self.end()
        settlement = self._outbox.settle(trusted=self._trusted)
        close_all(settlement.memories)
        for offer in settlement.condemned:
            sever(offer.descriptor)
        return settlement

    def close(self) -> None:
        """Close the socket. First remove it from the loop and settle, or offers are lost."""
        self._socket.close()
        self._closed = True
        close_all(self._outbox.settle(trusted=True).memories)

    def _send(self, batch: Batch) -> bool:
        try:
            send_message(self._socket, batch.message, batch.descriptors)
        except BlockingIOError:
            self._blocked = True
            return False
        except OSError as error:
            if error.errno == errno.EBADF:
                return self._discard_closed(batch)
            # Any other failure is the worker's end, which `receive` meets after its last words.
            self._broken = error.errno not in _LATER
            return False
        close_all(self._outbox.batch_sent(batch))
        return True

    def _discard_closed(self, batch: Batch) -> bool:
        """One descriptor that is not open fails a whole batch: take such offers out of it."""
        bad = [number for number in batch.descriptors if not is_open(number)]
        offers, memories = self._outbox.discard(bad)
        close_all(memories)
        self._events += [Denied(offer, DenialReason.BAD_DESCRIPTOR) for offer in offers]
        return bool(offers)

    def _read(self, messages: int) -> bool:
        """Read up to so many messages. Returns whether there may be more."""
        for _ in range(messages):
            try:
                message = self._socket.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                self._broken = True
                continue
            except OSError as error:
                self._finish(self._end_reason, str(error))
                return False
            if not message:
                self._finish(self._end_reason)
                return False
            if not self._handle(message):
                return False
        return True

    def _handle(self, message: bytes) -> bool:
        try:
            for frame in decode_answers(message):
                self._events += self._outbox.answered(frame)
        except ChannelError as error:
            self._trusted = False
            self._shutdown()
            self._finish(CloseReason.VIOLATION, str(error))
            return False
        return True

    def _shutdown(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # Not connected any more: the peer cannot send either.
            self._broken = True

    def _finish(self, reason: CloseReason, detail: str = "") -> None:
        if not self._closed:
            self._closed = True
            self._events.append(Closed(reason, detail=detail))
