"""Which worker gets an offer, and what happens to it when that goes wrong.

Owns every offer of this front until it is accepted, denied for good, or expired; the front owns
the descriptors and must neither use nor close one before that. Rules: the worker with most free
credit is asked, in turn among equals; without credit an offer waits, bounded in count, bytes and
time; a worker that is full is passed over once it said so, a draining one for ever; what a dead
worker left unacknowledged goes to the others first. Every wait ends: `expire` closes the channel
of a worker that does not answer.

The front calls `offer` for each reply, `flush` at the end of a loop turn, `receive` when a
source is readable (after `flush` when writable) and `expire` by its reaper. Time is monotonic
seconds and always an argument.
"""

from __future__ import annotations

from bisect import insort_left
from collections import deque
from collections.abc import Iterable, Sequence
from operator import attrgetter

from proxy.handoff.errors import PayloadTooLarge
from proxy.handoff.events import (
    Accepted,
    Closed,
    CloseReason,
    Credited,
    DenialReason,
    Denied,
    Detached,
    DispatcherEvent,
    Offer,
    SourceEvent,
)
from proxy.handoff.settings import DispatcherSettings
from proxy.handoff.source import Source
from proxy.telemetry import Metrics

__all__ = ["Dispatcher"]


class Dispatcher:
    """Offers of one front to all its workers."""

    __slots__ = (
        "_draining",
        "_metrics",
        "_next",
        "_results",
        "_seconds",
        "_sources",
        "_waiting",
        "_waiting_bytes",
        "settings",
    )

    def __init__(self, settings: DispatcherSettings, metrics: Metrics) -> None:
        self.settings = settings
        """Bounds; a reload may replace them."""
        self._sources: list[Source] = []
        self._draining: set[Source] = set()
        self._next = 0
        self._waiting: deque[Offer] = deque()
        self._waiting_bytes = 0
        self._metrics = metrics
        self._results = metrics.counter("vestibule_handoffs_total", "accepted")
        self._seconds = metrics.histogram("vestibule_handoff_seconds")
        metrics.gauge_function("vestibule_handoffs_waiting", lambda: len(self._waiting))

    @property
    def waiting(self) -> int:
        """Offers that wait for credit."""
        return len(self._waiting)

    @property
    def sources(self) -> Sequence[Source]:
        """The channels in use."""
        return tuple(self._sources)

    def attach(self, source: Source, now: float) -> list[DispatcherEvent]:
        """Use this channel; waiting offers go out as its worker grants credit."""
        self._sources.append(source)
        return self.receive(source, now)

    def offer(self, payload: bytes, descriptor: int, now: float) -> Denied | None:
        """Offer a connection. None: the descriptor is lent until an event about it.

        Denied: nobody was asked, and the connection is the front's as before.
        """
        offer = Offer(payload, descriptor, now)
        source = self._choose()
        if source is not None:
            denial = self._hand_over(offer, source, now)
        elif len(self._waiting) >= self.settings.waiting_max or (
            self._waiting_bytes + len(payload) > self.settings.waiting_bytes_max
        ):
            denial = Denied(offer, DenialReason.QUEUE_FULL)
        else:
            self._wait(offer)
            return None
        if denial is not None:
            self._count(denial.reason.label)
        return denial

    def flush(self, now: float) -> list[DispatcherEvent]:
        """Send what was offered in this turn; see each source's `wants_write` afterwards."""
        events: list[DispatcherEvent] = []
        for source in tuple(self._sources):
            if source.queued and not source.flush():
                events += self._received(source, now)
        for source in self._sources:
            # What one lost or denied just now may have been given to another passed above.
            if source.queued and not source.wants_write:
                source.flush()
        return events

    def receive(self, source: Source, now: float) -> list[DispatcherEvent]:
        """Handle what a worker has answered. After Detached the source is not ours any more."""
        return self._received(source, now) + self.flush(now)

    def detach(
        self, source: Source, now: float, reason: CloseReason = CloseReason.CLOSED_HERE
    ) -> list[DispatcherEvent]:
        """End a channel; what its worker has not accepted by then goes to the others."""
        if source not in self._sources:
            return []
        events = self._handle(source, source.end(reason), now) + self._serve_waiting(now)
        return events + self.flush(now)

    def expire(self, now: float) -> list[DispatcherEvent]:
        """Give up what has waited too long, for credit or for an answer."""
        settings = self.settings
        events: list[DispatcherEvent] = []
        for source in tuple(self._sources):
            if self._overdue(source, now):
                # Perhaps it was this process that stood still: what came meanwhile counts.
                events += self._received(source, now)
                if self._overdue(source, now):
                    events += self.detach(source, now, CloseReason.STUCK)
        while self._waiting and now - self._waiting[0].since_s >= settings.waiting_timeout_s:
            events.append(self._deny(self._next_waiting(), DenialReason.EXPIRED))
        return events + self.flush(now)

    def close(self, now: float) -> list[DispatcherEvent]:
        """End every channel and deny all that is left: the front is about to exit."""
        events: list[DispatcherEvent] = []
        for source in tuple(self._sources):
            events += self.detach(source, now)
        while self._waiting:
            events.append(self._deny(self._next_waiting(), DenialReason.EXPIRED))
        return events

    def _overdue(self, source: Source, now: float) -> bool:
        oldest = source.oldest_unanswered()
        return oldest is not None and now - oldest >= self.settings.answer_timeout_s

    def _received(self, source: Source, now: float) -> list[DispatcherEvent]:
        if source not in self._sources:
            return []
        return self._handle(source, source.receive(), now) + self._serve_waiting(now)

    def _choose(self, avoided: Source | None = None) -> Source | None:
        """The source with most credit; the one after the last chosen wins among equals."""
        sources = self._sources
        count = len(sources)
        best: Source | None = None
        most = chosen = 0
        for step in range(count):
            position = (self._next + step) % count
            source = sources[position]
            credit = source.credit
            if credit > most and source is not avoided and source not in self._draining:
                best, most, chosen = source, credit, position
        if best is not None:
            self._next = chosen + 1
        return best

    def _hand_over(self, offer: Offer, source: Source, now: float) -> Denied | None:
        try:
            source.offer(offer, now)
        except PayloadTooLarge:
            return Denied(offer, DenialReason.TOO_LARGE)
        except OSError:
            return Denied(offer, DenialReason.NO_DESCRIPTORS)
        return None

    def _handle(
        self, source: Source, events: Iterable[SourceEvent], now: float
    ) -> list[DispatcherEvent]:
        """Turn a source's events into the front's; what is to be offered again, is."""
        results: list[DispatcherEvent] = []
        for event in events:
            match event:
                case Accepted(offers):
                    self._results.value += len(offers)
                    for offer in offers:
                        self._seconds.observe(now - offer.since_s)
                    results.append(event)
                case Denied(offer, reason):
                    results += self._denied(source, offer, reason, now)
                case Credited():
                    pass  # `_serve_waiting` follows every call
                case Closed(reason, _, detail):
                    results += self._forget(source, now)
                    results.append(Detached(source, reason, detail))
        return results

    def _denied(
        self, source: Source, offer: Offer, reason: DenialReason, now: float
    ) -> list[DispatcherEvent]:
        if reason is DenialReason.DRAINING:
            self._draining.add(source)
        offer.denials += 1
        if not reason.elsewhere or offer.denials >= self.settings.denials_max:
            return [self._deny(offer, reason)]
        self._count("offered_again")
        other = self._choose(avoided=source)
        if other is None:
            self._wait_by_age([offer])
            return []
        denial = self._hand_over(offer, other, now)
        return [] if denial is None else [self._deny(offer, denial.reason)]

    def _forget(self, source: Source, now: float) -> list[DispatcherEvent]:
        self._sources.remove(source)
        self._draining.discard(source)
        settlement = source.settle()
        for _ in settlement.orphans:
            self._count("offered_again")
        self._wait_by_age(settlement.orphans)
        return [self._deny(offer, DenialReason.CONDEMNED) for offer in settlement.condemned]

    def _serve_waiting(self, now: float) -> list[DispatcherEvent]:
        events: list[DispatcherEvent] = []
        while self._waiting and (source := self._choose()) is not None:
            denial = self._hand_over(self._next_waiting(), source, now)
            if denial is not None:
                events.append(self._deny(denial.offer, denial.reason))
        return events

    def _wait(self, offer: Offer) -> None:
        self._waiting.append(offer)
        self._waiting_bytes += len(offer.payload)

    def _wait_by_age(self, offers: Sequence[Offer]) -> None:
        """Let those wait that were on offer before. They are within the bounds of credit."""
        for offer in reversed(offers):
            insort_left(self._waiting, offer, key=attrgetter("since_s"))
        self._waiting_bytes += sum(len(offer.payload) for offer in offers)

    def _next_waiting(self) -> Offer:
        offer = self._waiting.popleft()
        self._waiting_bytes -= len(offer.payload)
        return offer

    def _deny(self, offer: Offer, reason: DenialReason) -> Denied:
        self._count(reason.label)
        return Denied(offer, reason)

    def _count(self, result: str) -> None:
        self._metrics.counter("vestibule_handoffs_total", result).value += 1
