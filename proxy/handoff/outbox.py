"""The offering end's state: credit, offers not yet sent, offers sent and not yet answered.

Owns who has each descriptor on this side. Sans-IO: it says which batch is next, is told that it
went out, and turns answers into events. Rules: one offer uses up one credit, so never more are
unanswered than were granted; an offer leaves only as accepted, denied, or by `settle`; an answer
to what was not sent is the peer's violation and changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.handoff.errors import ChannelError, NoCredit
from proxy.handoff.events import Accepted, Credited, Denied, Offer, SourceEvent
from proxy.handoff.frames import (
    BATCH_HEADER_BYTES,
    OFFER_HEADER_BYTES,
    AcceptedFrame,
    AnswerFrame,
    CreditFrame,
    DeniedFrame,
    batch_header,
    memory_offer_header,
    offer_header,
)
from proxy.handoff.settings import WINDOW_MAX

__all__ = ["Batch", "Outbox", "Settlement"]

_ID_MASK = 0xFFFF_FFFF


class _Queued(NamedTuple):
    id: int
    offer: Offer
    memory: int | None
    now: float


class Batch(NamedTuple):
    """What one sendmsg is to carry."""

    message: bytes
    descriptors: list[int]
    offers: int
    """How many are in it."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What remains when the channel has ended."""

    orphans: tuple[Offer, ...]
    """Surely taken by nobody: to be offered to another."""
    condemned: tuple[Offer, ...] = field(default=())
    """Perhaps taken by a peer whose answers cannot be trusted: nobody may go on with them."""
    memories: tuple[int, ...] = ()
    """Memory files that were not sent; to be closed."""


class Outbox:
    """Offers of one front to one worker."""

    __slots__ = ("_batch_bytes", "_batch_descriptors", "_next_id", "_queue", "_sent", "credit")

    def __init__(self, batch_bytes: int, batch_descriptors: int) -> None:
        self._batch_bytes = batch_bytes
        self._batch_descriptors = batch_descriptors
        self._queue: deque[_Queued] = deque()
        self._sent: dict[int, tuple[Offer, float]] = {}
        self._next_id = 0
        self.credit = 0
        """Offers that may still be made."""

    @property
    def queued(self) -> int:
        """Offers made and not yet sent."""
        return len(self._queue)

    @property
    def unanswered(self) -> int:
        """Offers sent and not yet answered."""
        return len(self._sent)

    def needs_memory(self, payload: bytes) -> bool:
        """Whether a payload fits no batch, and has to travel in a memory file."""
        return BATCH_HEADER_BYTES + OFFER_HEADER_BYTES + len(payload) > self._batch_bytes

    def put(self, offer: Offer, now: float, memory: int | None = None) -> None:
        """Queue an offer. Raises NoCredit.

        `memory` is the sealed memory file with its payload, for a payload that `needs_memory`.
        """
        if self.credit < 1:
            raise NoCredit("the receiver has granted no further offers")
        self.credit -= 1
        self._queue.append(_Queued(self._next_id, offer, memory, now))
        self._next_id = (self._next_id + 1) & _ID_MASK

    def next_batch(self) -> Batch | None:
        """The oldest queued offers that fit one message; they stay queued until `batch_sent`."""
        room = self._batch_bytes - BATCH_HEADER_BYTES
        slots = self._batch_descriptors
        parts = [b""]
        descriptors: list[int] = []
        count = 0
        memory_used = False
        for offer_id, offer, memory, _ in self._queue:
            if memory is None:
                payload = offer.payload
                room -= OFFER_HEADER_BYTES + len(payload)
                if room < 0 or len(descriptors) >= slots:
                    break
                parts.append(offer_header(offer_id, len(payload)))
                parts.append(payload)
                descriptors.append(offer.descriptor)
            else:
                room -= OFFER_HEADER_BYTES
                if memory_used or room < 0 or len(descriptors) + 1 >= slots:
                    break
                memory_used = True
                parts.append(memory_offer_header(offer_id, len(offer.payload)))
                descriptors += (offer.descriptor, memory)
            count += 1
        if not count:
            return None
        parts[0] = batch_header(len(descriptors))
        return Batch(b"".join(parts), descriptors, count)

    def batch_sent(self, batch: Batch) -> list[int]:
        """The batch is with the peer. Returns the memory files to close: the peer has its own."""
        memories: list[int] = []
        popleft, sent = self._queue.popleft, self._sent
        for _ in range(batch.offers):
            offer_id, offer, memory, now = popleft()
            sent[offer_id] = (offer, now)
            if memory is not None:
                memories.append(memory)
        return memories

    def discard(self, descriptors: Sequence[int]) -> tuple[list[Offer], list[int]]:
        """Take queued offers of these descriptors back, their credit too: (offers, memories)."""
        removed = [entry for entry in self._queue if entry.offer.descriptor in descriptors]
        self._queue = deque(
            entry for entry in self._queue if entry.offer.descriptor not in descriptors
        )
        self.credit += len(removed)
        memories = [entry.memory for entry in removed if entry.memory is not None]
        return [entry.offer for entry in removed], memories

    def answered(self, frame: AnswerFrame) -> list[SourceEvent]:
        """The events of one answer. Raises ChannelError, and then has changed nothing."""
        match frame:
            case AcceptedFrame(ids):
                return [Accepted(tuple(self._take(ids)))] if ids else []
            case DeniedFrame(denials):
                offers = self._take([offer_id for offer_id, _ in denials])
                reasons = [reason for _, reason in denials]
                return [Denied(*pair) for pair in zip(offers, reasons, strict=True)]
            case CreditFrame(credit):
                if self.credit + len(self._queue) + len(self._sent) + credit > WINDOW_MAX:
                    raise ChannelError(f"credit of {credit} beyond the largest window")
                self.credit += credit
                return [Credited(credit)]

    def oldest_unanswered(self) -> float | None:
        """When the offer that waits longest for its answer was made; None when none does."""
        for _, now in self._sent.values():
            return now
        return None

    def settle(self, *, trusted: bool) -> Settlement:
        """The channel has ended: give up everything that is still here, oldest first.

        Not `trusted` means that an answer could not be understood, so that of the offers sent
        each may have been accepted. Offers never sent are orphans either way.
        """
        sent = tuple(offer for offer, _ in self._sent.values())
        queued = tuple(entry.offer for entry in self._queue)
        memories = tuple(entry.memory for entry in self._queue if entry.memory is not None)
        self._sent.clear()
        self._queue.clear()
        self.credit = 0
        if trusted:
            return Settlement(sent + queued, (), memories)
        return Settlement(queued, sent, memories)

    def _take(self, ids: Sequence[int]) -> list[Offer]:
        taken: dict[int, tuple[Offer, float]] = {}
        pop = self._sent.pop
        for offer_id in ids:
            entry = pop(offer_id, None)
            if entry is None:
                self._sent.update(taken)
                raise ChannelError(f"answer to {offer_id}, which is not on offer")
            taken[offer_id] = entry
        return [offer for offer, _ in taken.values()]
