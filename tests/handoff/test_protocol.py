"""Both ends' state together, in any order of events, deaths included.

The machine is one front, up to three workers and the messages in flight, without sockets. It
checks what a hand-off is for: a connection is never lost and never owned twice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.handoff.events import Accepted, DenialReason, Denied, Offer
from proxy.handoff.frames import decode_answers, decode_offers
from proxy.handoff.inbox import Inbox
from proxy.handoff.outbox import Outbox

WINDOW = 4
WORKERS = 3


@dataclass
class Channel:
    """One front's outbox, one worker's inbox, and what is between them."""

    outbox: Outbox = field(default_factory=lambda: Outbox(1024, 3))
    inbox: Inbox = field(default_factory=lambda: Inbox(WINDOW))
    to_worker: deque[tuple[bytes, list[int]]] = field(default_factory=deque)
    to_front: deque[bytes] = field(default_factory=deque)
    held: dict[int, int] = field(default_factory=dict)
    """The worker's unanswered offers: descriptor by id."""
    accepted: dict[int, int] = field(default_factory=dict)
    """Decided, but the acceptance has not gone out."""
    served: set[int] = field(default_factory=set)
    """Descriptors that the worker may write to."""
    granted: int = 0
    used: int = 0


class Handoff(RuleBasedStateMachine):
    """Descriptors are numbers that are never used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = [Channel() for _ in range(WORKERS)]
        self.next_descriptor = 0
        self.front: set[int] = set()
        """The front owns these and may close or offer them."""
        self.lent: set[int] = set()
        """Offered, not answered."""
        self.handed_over: set[int] = set()
        """Accepted: closed by the front."""
        self.dead_served: set[int] = set()
        """Served by a worker that has died."""

    workers = st.integers(0, WORKERS - 1)

    @rule()
    def connect(self) -> None:
        self.front.add(self.next_descriptor)
        self.next_descriptor += 1

    @precondition(lambda self: self.front)
    @rule(worker=workers)
    def offer(self, worker: int) -> None:
        channel = self.channels[worker]
        if channel.outbox.credit:
            descriptor = min(self.front)
            self.front.remove(descriptor)
            self.lent.add(descriptor)
            channel.outbox.put(Offer(b"%d" % descriptor, descriptor, 0.0), 0.0)
            channel.used += 1

    @rule(worker=workers)
    def send_offers(self, worker: int) -> None:
        channel = self.channels[worker]
        batch = channel.outbox.next_batch()
        if batch is not None:
            channel.to_worker.append((batch.message, batch.descriptors))
            assert channel.outbox.batch_sent(batch) == []

    @rule(worker=workers, truncated=st.booleans())
    def receive_offers(self, worker: int, truncated: bool) -> None:
        channel = self.channels[worker]
        if not channel.to_worker:
            return
        message, descriptors = channel.to_worker.popleft()
        offers = decode_offers(message)
        ids = [offer.id for offer in offers]
        if truncated:
            channel.inbox.truncated(ids)
        else:
            channel.inbox.arrived(ids, descriptors)
            channel.held.update(zip(ids, descriptors, strict=True))

    @rule(worker=workers, data=st.data())
    def accept(self, worker: int, data: st.DataObject) -> None:
        channel = self.channels[worker]
        ids = data.draw(st.sets(st.sampled_from(sorted(channel.held)))) if channel.held else set()
        channel.inbox.accept(ids)
        channel.accepted.update({id_: channel.held.pop(id_) for id_ in ids})

    @precondition(lambda self: any(channel.held for channel in self.channels))
    @rule(data=st.data(), reason=st.sampled_from([DenialReason.DRAINING, DenialReason.OVERLOADED]))
    def deny(self, data: st.DataObject, reason: DenialReason) -> None:
        holders = [channel for channel in self.channels if channel.held]
        channel = data.draw(st.sampled_from(holders))
        offer_id = data.draw(st.sampled_from(sorted(channel.held)))
        assert channel.inbox.deny(offer_id, reason) == channel.held.pop(offer_id)

    @rule(worker=workers, spares=st.integers(0, WINDOW))
    def send_answers(self, worker: int, spares: int) -> None:
        channel = self.channels[worker]
        credit = min(spares, channel.inbox.grantable())
        message = channel.inbox.answers(credit)
        if message:
            channel.to_front.append(message)
            channel.granted += credit
            for offer_id in channel.inbox.answers_sent(credit):
                channel.served.add(channel.accepted.pop(offer_id))

    @rule(worker=workers)
    def receive_answers(self, worker: int) -> None:
        channel = self.channels[worker]
        if channel.to_front:
            self.handle(channel, channel.to_front.popleft())

    @rule(worker=workers)
    def worker_dies(self, worker: int) -> None:
        """What it had sent is read; what it had not read, or not said, never happened."""
        channel = self.channels[worker]
        while channel.to_front:
            self.handle(channel, channel.to_front.popleft())
        revoked, unanswered = channel.inbox.settle()
        assert set(revoked) == channel.accepted.keys()
        assert set(unanswered) == set(channel.held.values())
        settlement = channel.outbox.settle(trusted=True)
        assert settlement.condemned == ()
        for offer in settlement.orphans:
            self.take_back(offer)
        self.dead_served |= channel.served
        self.channels[worker] = Channel()

    def handle(self, channel: Channel, message: bytes) -> None:
        for frame in decode_answers(message):
            for event in channel.outbox.answered(frame):
                if isinstance(event, Accepted):
                    for offer in event.offers:
                        self.lent.remove(offer.descriptor)
                        self.handed_over.add(offer.descriptor)
                elif isinstance(event, Denied):
                    self.take_back(event.offer)

    def take_back(self, offer: Offer) -> None:
        assert offer.payload == b"%d" % offer.descriptor
        self.lent.remove(offer.descriptor)
        self.front.add(offer.descriptor)

    @invariant()
    def nothing_is_lost(self) -> None:
        owned = self.front | self.lent | self.handed_over
        assert owned == set(range(self.next_descriptor))

    @invariant()
    def the_front_owns_nothing_that_is_served(self) -> None:
        serving = [channel.served for channel in self.channels] + [self.dead_served]
        assert sum(map(len, serving)) == len(set().union(*serving)), "served twice"
        assert not self.front & set().union(*serving), "the front could offer it again"
        assert self.handed_over <= set().union(*serving), "closed by the front, served by nobody"

    @invariant()
    def credit_is_kept(self) -> None:
        for channel in self.channels:
            outstanding = channel.outbox.unanswered + channel.outbox.queued
            assert channel.used <= channel.granted
            assert outstanding <= channel.granted
            assert channel.inbox.credit + len(channel.held) <= WINDOW
            assert 0 <= channel.outbox.credit <= WINDOW


Handoff.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestHandoff = Handoff.TestCase
