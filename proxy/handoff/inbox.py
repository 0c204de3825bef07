"""The receiving end's state: credit given, offers to answer, answers not yet sent.

Owns who has each descriptor on this side. Sans-IO: it checks what arrived, records decisions,
says what the next message is and is told that it went out. Rules: an offer beyond the credit
given, or with an id in use, is the peer's violation; credit given plus offers unanswered never
exceed the window; an acceptance counts only once its message has gone out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proxy.handoff.errors import ChannelError, Misuse
from proxy.handoff.events import DenialReason
from proxy.handoff.frames import encode_answers
from proxy.handoff.settings import WINDOW_MAX

__all__ = ["Inbox"]


class Inbox:
    """Offers to one worker by one front."""

    __slots__ = ("_accepted", "_denied", "_unanswered", "_window", "credit")

    def __init__(self, window: int) -> None:
        self._unanswered: dict[int, int] = {}
        self._accepted: dict[int, int] = {}
        self._denied: dict[int, DenialReason] = {}
        self._window = window
        self.credit = 0
        """Offers that the peer may still make."""

    @property
    def window(self) -> int:
        """Offers that the peer may have unanswered. Lowering it takes no credit back."""
        return self._window

    @window.setter
    def window(self, window: int) -> None:
        if not 0 <= window <= WINDOW_MAX:
            raise Misuse(f"window {window} not in 0..{WINDOW_MAX}")
        self._window = window

    @property
    def unanswered(self) -> tuple[int, ...]:
        """Ids of offers that wait for a decision."""
        return tuple(self._unanswered)

    def arrived(self, ids: Sequence[int], descriptors: Sequence[int]) -> None:
        """A batch arrived. Raises ChannelError, and then has recorded nothing."""
        if len(ids) > self.credit:
            raise ChannelError(f"{len(ids)} offers for {self.credit} credits")
        new = dict(zip(ids, descriptors, strict=True))
        fresh = new.keys().isdisjoint
        if not (
            len(new) == len(ids)
            and fresh(self._unanswered)
            and fresh(self._accepted)
            and fresh(self._denied)
        ):
            raise ChannelError("an offer with the id of another")
        self.credit -= len(ids)
        self._unanswered.update(new)

    def truncated(self, ids: Sequence[int]) -> None:
        """A batch arrived without all its descriptors: deny it whole. Raises ChannelError."""
        self.arrived(ids, [-1] * len(ids))
        for offer_id in ids:
            self.deny(offer_id, DenialReason.DESCRIPTORS)

    def accept(self, ids: Iterable[int]) -> None:
        """Decide to take these; the next message will say so. Raises Misuse."""
        chosen = list(ids)
        unanswered = self._unanswered
        for position, offer_id in enumerate(chosen):
            if offer_id not in unanswered:
                for earlier in chosen[:position]:
                    unanswered[earlier] = self._accepted.pop(earlier)
                raise Misuse(f"offer {offer_id} is not waiting for an answer")
            self._accepted[offer_id] = unanswered.pop(offer_id)

    def deny(self, offer_id: int, reason: DenialReason) -> int:
        """Decide not to take this one. Returns its descriptor, to be closed. Raises Misuse."""
        if reason >= DenialReason.QUEUE_FULL:
            raise Misuse(f"{reason.label} is not a worker's reason")
        descriptor = self._unanswered.pop(offer_id, None)
        if descriptor is None:
            raise Misuse(f"offer {offer_id} is not waiting for an answer")
        self._denied[offer_id] = reason
        return descriptor

    def grantable(self) -> int:
        """Credit that the window leaves to give."""
        return max(0, self._window - self.credit - len(self._unanswered))

    def answers(self, credit: int) -> bytes:
        """The message with every answer due and this much new credit; empty without any."""
        return encode_answers(list(self._accepted), list(self._denied.items()), credit)

    def answers_sent(self, credit: int) -> tuple[int, ...]:
        """That message went out. Returns the ids whose acceptance is now in force."""
        accepted = tuple(self._accepted)
        self._accepted.clear()
        self._denied.clear()
        self.credit += credit
        return accepted

    def withdraw(self) -> tuple[int, ...]:
        """Deny what was accepted and has not gone out, for want of time. Returns those ids."""
        withdrawn = tuple(self._accepted)
        self._accepted.clear()
        self._denied.update(dict.fromkeys(withdrawn, DenialReason.DRAINING))
        return withdrawn

    def settle(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The channel has ended. Returns (ids accepted in vain, descriptors still ours to close).

        The descriptors of the former belong to the caller since `accept`.
        """
        revoked = tuple(self._accepted)
        unanswered = tuple(self._unanswered.values())
        self._accepted.clear()
        self._denied.clear()
        self._unanswered.clear()
        self.credit = 0
        return revoked, unanswered
