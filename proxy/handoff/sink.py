"""The worker's end of a channel: offers come in, answers and credit go out.

Owns the socket, the spare descriptors behind its credit and, through its Inbox, the descriptors
of offers until they are answered. The loop's part is the caller's, as for Source; the first
`flush` opens the channel by granting credit. Rules: nothing here blocks; an acceptance must have
been *sent* before the worker reads from or writes to the client, because what was not
acknowledged is offered to another when this process dies: `accept` says whether it went out,
otherwise AcceptanceSent does later; an acceptance that never went out is revoked by Closed.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence

from proxy.handoff.descriptors import Received, Reserve, close_all, peek, receive_message
from proxy.handoff.errors import ChannelError
from proxy.handoff.events import (
    AcceptanceSent,
    Closed,
    CloseReason,
    DenialReason,
    Offered,
    SinkEvent,
)
from proxy.handoff.frames import (
    BATCH_HEADER_BYTES,
    MemoryOffer,
    OfferFrame,
    announced_descriptors,
    decode_offers,
)
from proxy.handoff.inbox import Inbox
from proxy.handoff.memory import read_sealed
from proxy.handoff.settings import ChannelSettings

__all__ = ["Sink"]

_BATCHES_PER_TURN = 4
"""Batches read at once; a batch is up to a hundred new clients, and the others wait meanwhile."""

_MEMORY_SPARES = 1
"""A batch brings at most one descriptor (a memory file) beyond those of its clients."""

_LATER = frozenset({errno.ENOBUFS, errno.ENOMEM})


class Sink:
    """Receives connections from one front."""

    __slots__ = ("_blocked", "_closed", "_events", "_inbox", "_reserve", "_socket")

    def __init__(self, channel: socket.socket, settings: ChannelSettings) -> None:
        channel.setblocking(False)
        channel.set_inheritable(False)
        self._socket = channel
        self._inbox = Inbox(settings.window)
        self._reserve = Reserve()
        self._events: list[SinkEvent] = []
        self._blocked = False
        self._closed = False

    @property
    def wants_write(self) -> bool:
        """Whether to call `flush`, then `receive`, when the socket becomes writable."""
        return not self._closed and (self._blocked or bool(self._events))

    @property
    def window(self) -> int:
        """Offers that the front may have unanswered; lower it, to 0 at last, to get fewer.

        Credit given is not taken back: what still comes of it is to be denied. Raises Misuse
        when set out of range.
        """
        return self._inbox.window

    @window.setter
    def window(self, window: int) -> None:
        self._inbox.window = window

    def fileno(self) -> int:
        """The channel's descriptor, for the loop; -1 once closed."""
        return self._socket.fileno()

    def receive(self) -> list[SinkEvent]:
        """What the front has offered since, in order; Closed is the last event ever."""
        for _ in range(_BATCHES_PER_TURN):
            if self._closed or not self._receive_batch():
                break
        events, self._events = self._events, []
        return events

    def accept(self, ids: Iterable[int]) -> bool:
        """Take these connections; their descriptors are the caller's from now on.

        Returns whether the front has been told. If not, they must not be touched before
        AcceptanceSent names them. Raises Misuse for an id that is not waiting for an answer.
        """
        chosen = frozenset(ids)
        self._inbox.accept(chosen)
        return self._send_answers(chosen)

    def deny(self, offer_id: int, reason: DenialReason) -> None:
        """Leave this connection to the front; its descriptor is closed here.

        Goes out with the next `accept` or `flush`. Raises Misuse as `accept` does.
        """
        close_all((self._inbox.deny(offer_id, reason),))

    def flush(self) -> bool:
        """Send denials and the credit that the window and free descriptors allow.

        Returns whether all of it went out. Call it after `deny`, after changing `window`, and
        now and then when descriptors ran short.
        """
        return self._send_answers(frozenset())

    def close(self) -> Closed:
        """Deny what the front has no answer to, and close. First remove the socket from the loop.

        The event returned names acceptances that never went out, as a reported Closed does.
        Also to be called after Closed has been reported.
        """
        revoked = self._inbox.withdraw()
        for offer_id in self._inbox.unanswered:
            self.deny(offer_id, DenialReason.DRAINING)
        self._inbox.window = 0
        self.flush()
        self._release()
        self._socket.close()
        return Closed(CloseReason.CLOSED_HERE, revoked)

    def _receive_batch(self) -> bool:
        """Read one message. Returns whether there may be another."""
        try:
            start = peek(self._socket, BATCH_HEADER_BYTES)
            if start:
                self._reserve.release(announced_descriptors(start))
                received = receive_message(self._socket)
        except BlockingIOError:
            return False
        except OSError as error:
            self._finish(CloseReason.PEER_GONE, str(error))
            return False
        if not start:
            self._finish(CloseReason.PEER_GONE)
            return False
        try:
            self._handle(received)
        except ChannelError as error:
            close_all(received.descriptors)
            self._finish(CloseReason.VIOLATION, str(error))
            return False
        return True

    def _handle(self, received: Received) -> None:
        frames = decode_offers(received.message)
        if received.truncated:
            self._inbox.truncated([frame.id for frame in frames])
            self._send_answers(frozenset())
            return
        if len(received.descriptors) != announced_descriptors(received.message):
            raise ChannelError("other descriptors than announced")
        offers, memories = _assigned(frames, received.descriptors)
        self._inbox.arrived([offer.id for offer in offers], [o.descriptor for o in offers])
        self._events += offers
        if memories:
            close_all(memories)
            self._reserve.fill(self._inbox.credit + _MEMORY_SPARES)

    def _send_answers(self, asked: frozenset[int]) -> bool:
        """Send answers and credit; acceptances in `asked` are reported by the return value."""
        if self._closed:
            return False
        self._blocked = False
        inbox = self._inbox
        credit = inbox.grantable()
        if credit:
            spares = self._reserve.fill(inbox.credit + credit + _MEMORY_SPARES)
            credit = max(0, min(credit, spares - _MEMORY_SPARES - inbox.credit))
        message = inbox.answers(credit)
        if not message:
            return True
        try:
            self._socket.send(message)
        except BlockingIOError:
            self._blocked = True
            return False
        except OSError as error:
            # The front's end is met by `receive`, which is called since it makes us readable.
            self._blocked = error.errno in _LATER
            return False
        sent = inbox.answers_sent(credit)
        if len(sent) > len(asked):
            self._events.append(AcceptanceSent(tuple(i for i in sent if i not in asked)))
        return True

    def _finish(self, reason: CloseReason, detail: str = "") -> None:
        # Offers that the worker has not seen yet end here: nobody could accept them any more.
        self._events = [event for event in self._events if not isinstance(event, Offered)]
        self._events.append(Closed(reason, self._release(), detail))

    def _release(self) -> tuple[int, ...]:
        self._closed = True
        revoked, unanswered = self._inbox.settle()
        close_all(unanswered)
        self._reserve.close()
        return revoked


def _assigned(
    frames: Sequence[OfferFrame], descriptors: Sequence[int]
) -> tuple[list[Offered], list[int]]:
    """Give each offer its descriptor and payload: (offers, memory files to close)."""
    offers: list[Offered] = []
    memories: list[int] = []
    remaining = iter(descriptors)
    for frame in frames:
        descriptor = next(remaining)
        if isinstance(frame, MemoryOffer):
            memory = next(remaining)
            offers.append(Offered(frame.id, read_sealed(memory, frame.length), descriptor))
            memories.append(memory)
        else:
            offers.append(Offered(frame.id, frame.payload, descriptor))
    return offers, memories
