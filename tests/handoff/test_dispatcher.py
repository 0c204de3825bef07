"""The choice among workers, with channels whose workers are in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.handoff import (
    PAYLOAD_BYTES_MAX,
    Accepted,
    ChannelSettings,
    Closed,
    CloseReason,
    DenialReason,
    Denied,
    Detached,
    Dispatcher,
    DispatcherEvent,
    DispatcherSettings,
    Offered,
    Sink,
    Source,
    channel_pair,
)
from proxy.telemetry import Metrics
from tests.handoff.ends import clients, close_if_open, offered

SETTINGS = DispatcherSettings(
    waiting_max=4, waiting_bytes_max=1000, waiting_timeout_s=5.0, answer_timeout_s=10.0
)


class Front:
    """A dispatcher with workers that the test plays."""

    def __init__(self, settings: DispatcherSettings = SETTINGS) -> None:
        self.metrics = Metrics()
        self.dispatcher = Dispatcher(settings, self.metrics)
        self.sources: list[Source] = []
        self.sinks: list[Sink] = []
        self.received: list[Offered] = []

    def add_worker(self, window: int = 8, now: float = 0.0) -> tuple[Source, Sink]:
        ours, theirs = channel_pair()
        settings = ChannelSettings(window=window)
        source, sink = Source(ours, settings), Sink(theirs, settings)
        sink.flush()
        self.sources.append(source)
        self.sinks.append(sink)
        assert self.dispatcher.attach(source, now) == []
        return source, sink

    def offer(self, count: int, now: float = 0.0, payload: bytes = b"capsule") -> None:
        """Offer descriptor 0, which stays open whatever happens."""
        for _ in range(count):
            assert self.dispatcher.offer(payload, 0, now) is None
        assert self.dispatcher.flush(now) == []

    def take(self, sink: Sink) -> list[Offered]:
        """What the worker has been offered."""
        events = offered(sink.receive())
        self.received += events
        return events

    def result(self, name: str) -> float:
        return self.metrics.counter("vestibule_handoffs_total", name).value

    def close(self) -> None:
        for source in self.sources:
            source.close()
        for sink in self.sinks:
            sink.close()
        for event in self.received:
            close_if_open(event.descriptor)


@contextmanager
def front(settings: DispatcherSettings = SETTINGS) -> Iterator[Front]:
    made = Front(settings)
    try:
        yield made
    finally:
        made.close()


def denials(events: list[DispatcherEvent]) -> list[DenialReason]:
    return [event.reason for event in events if isinstance(event, Denied)]


def test_equal_workers_take_turns() -> None:
    with front() as f:
        for _ in range(3):
            f.add_worker()
        f.offer(6)
        assert [len(f.take(sink)) for sink in f.sinks] == [2, 2, 2]


def test_workers_take_turns_also_when_their_credit_comes_back_at_once() -> None:
    with front() as f:
        for _ in range(3):
            f.add_worker()
        asked = []
        for _ in range(6):
            f.offer(1)
            for number, (source, sink) in enumerate(zip(f.sources, f.sinks, strict=True)):
                for event in f.take(sink):
                    asked.append(number)
                    sink.accept([event.id])
                    f.dispatcher.receive(source, 0.0)
        assert asked == [0, 1, 2, 0, 1, 2]


def test_the_worker_with_most_credit_is_asked() -> None:
    with front() as f:
        f.add_worker(window=2)
        f.add_worker(window=8)
        f.offer(6)
        assert [len(f.take(sink)) for sink in f.sinks] == [0, 6]
        f.offer(2)
        assert [len(f.take(sink)) for sink in f.sinks] == [1, 1]


@pytest.mark.requirement("A42")
def test_an_acceptance_is_reported_with_its_time() -> None:
    with front() as f, clients(1) as [(_, descriptor)]:
        source, sink = f.add_worker()
        assert f.dispatcher.offer(b"capsule", descriptor, 1.0) is None
        f.dispatcher.flush(1.0)
        [event] = f.take(sink)
        sink.accept([event.id])
        [accepted] = f.dispatcher.receive(source, 1.002)
        assert isinstance(accepted, Accepted)
        assert [offer.descriptor for offer in accepted.offers] == [descriptor]
        assert f.result("accepted") == 1
        histogram = f.metrics.histogram("vestibule_handoff_seconds")
        assert histogram.sum == pytest.approx(0.002)


def test_without_credit_an_offer_waits_for_it() -> None:
    with front() as f:
        source, sink = f.add_worker(window=1)
        f.offer(3)
        assert f.dispatcher.waiting == 2
        assert f.metrics.snapshot()["vestibule_handoffs_waiting"] == [[[], 2.0]]
        for _ in range(3):
            [event] = f.take(sink)
            sink.accept([event.id])
            assert len(f.dispatcher.receive(source, 0.0)) == 1
        assert f.dispatcher.waiting == 0


def test_a_later_offer_does_not_overtake_one_that_waits() -> None:
    with front() as f:
        f.offer(1, payload=b"first")
        f.add_worker(window=1)
        f.offer(1, payload=b"second")
        assert [event.payload for event in f.take(f.sinks[0])] == [b"first"]


def test_waiting_is_bounded_by_count() -> None:
    with front() as f:
        f.offer(4)
        denied = f.dispatcher.offer(b"capsule", 0, 0.0)
        assert denied is not None
        assert denied.reason is DenialReason.QUEUE_FULL
        assert f.result("queue_full") == 1


def test_waiting_is_bounded_by_bytes() -> None:
    with front() as f:
        f.offer(1, payload=bytes(600))
        denied = f.dispatcher.offer(bytes(401), 0, 0.0)
        assert denied is not None
        assert denied.reason is DenialReason.QUEUE_FULL
        f.offer(1, payload=bytes(400))


def test_waiting_is_bounded_by_time() -> None:
    with front() as f:
        f.offer(1, now=0.0)
        f.offer(1, now=1.0)
        assert f.dispatcher.expire(4.999) == []
        assert denials(f.dispatcher.expire(5.0)) == [DenialReason.EXPIRED]
        assert f.dispatcher.waiting == 1
        assert denials(f.dispatcher.expire(6.0)) == [DenialReason.EXPIRED]
        f.offer(1, now=6.0, payload=bytes(1000))


def test_what_a_dead_worker_left_goes_to_the_others() -> None:
    with front() as f:
        dying, sink = f.add_worker()
        f.offer(4)
        events = f.take(sink)
        sink.accept([events[1].id])
        _, other = f.add_worker()
        sink._socket.close()
        results = f.dispatcher.receive(dying, 1.0)
        assert isinstance(results[0], Accepted)
        assert results[1:] == [Detached(dying, CloseReason.PEER_GONE)]
        assert len(f.take(other)) == 3
        assert f.result("offered_again") == 3
        assert f.dispatcher.sources == (f.sources[1],)
        assert f.dispatcher.receive(dying, 1.0) == []


def test_what_a_flush_finds_orphaned_goes_out_in_the_same_flush() -> None:
    with front() as f:
        _, living = f.add_worker()
        dead, sink = f.add_worker()
        for _ in range(2):
            assert f.dispatcher.offer(b"capsule", 0, 0.0) is None
        sink._socket.close()
        assert f.dispatcher.flush(0.0) == [Detached(dead, CloseReason.PEER_GONE)]
        assert len(f.take(living)) + len(f.take(living)) == 2


def test_without_another_worker_orphans_wait_in_order_of_age() -> None:
    with front() as f:
        first, _ = f.add_worker(window=2)
        second, _ = f.add_worker(window=2)
        for number in range(5):
            f.offer(1, now=float(number), payload=b"%d" % number)
        assert f.dispatcher.waiting == 1
        for source in (second, first):
            detached = f.dispatcher.detach(source, 4.0)
            assert detached == [Detached(source, CloseReason.CLOSED_HERE)]
        assert f.dispatcher.waiting == 5
        _, third = f.add_worker(now=4.5)
        assert [event.payload for event in f.take(third)] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_live_worker_that_is_detached_cannot_accept_any_more() -> None:
    with front() as f:
        source, sink = f.add_worker()
        f.offer(1)
        [event] = f.take(sink)
        f.add_worker()
        f.dispatcher.detach(source, 1.0)
        assert not sink.accept([event.id])
        assert len(f.take(f.sinks[1])) == 1


def test_a_worker_that_breaks_the_protocol_ends_its_connections() -> None:
    with front() as f, clients(1) as [(client, descriptor)]:
        source, sink = f.add_worker()
        f.dispatcher.offer(b"capsule", descriptor, 0.0)
        f.dispatcher.flush(0.0)
        f.take(sink)
        f.add_worker()
        sink._socket.send(b"\xff")
        denied, detached = f.dispatcher.receive(source, 0.0)
        assert isinstance(denied, Denied)
        assert (denied.reason, denied.offer.descriptor) == (DenialReason.CONDEMNED, descriptor)
        assert detached == Detached(source, CloseReason.VIOLATION, "unknown frame 0xff")
        assert client.recv(10) == b""
        assert f.take(f.sinks[1]) == []


def test_a_stuck_worker_loses_its_channel() -> None:
    with front() as f:
        source, stuck = f.add_worker()
        f.offer(1, now=0.0)
        _, other = f.add_worker()
        assert f.dispatcher.expire(9.9) == []
        assert f.dispatcher.expire(10.0) == [Detached(source, CloseReason.STUCK)]
        assert len(f.take(other)) == 1
        assert stuck.receive() == [Closed(CloseReason.PEER_GONE)], "what it wakes up to"


def test_a_worker_is_not_stuck_whose_answer_lies_unread() -> None:
    """It may have been the front that stood still: suspended, or short of time."""
    with front() as f:
        _, sink = f.add_worker()
        f.offer(1, now=0.0)
        [event] = f.take(sink)
        assert sink.accept([event.id])
        [accepted] = f.dispatcher.expire(60.0)
        assert isinstance(accepted, Accepted)


def test_a_stuck_worker_without_another_ends_the_wait() -> None:
    with front() as f:
        source, _ = f.add_worker()
        f.offer(1, now=0.0)
        detached, denied = f.dispatcher.expire(10.0)
        assert detached == Detached(source, CloseReason.STUCK)
        assert denials([denied]) == [DenialReason.EXPIRED]


def test_a_full_workers_denial_is_another_workers_offer() -> None:
    with front() as f:
        first, sink = f.add_worker(window=8)
        f.offer(1)
        [event] = f.take(sink)
        _, other = f.add_worker(window=1)
        sink.deny(event.id, DenialReason.OVERLOADED)
        sink.flush()
        assert f.dispatcher.receive(first, 0.0) == []
        assert len(f.take(other)) == 1
        assert f.take(sink) == []


def test_denials_end() -> None:
    with front() as f:
        source, sink = f.add_worker()
        f.offer(1)
        results: list[DispatcherEvent] = []
        for _ in range(3):
            assert results == []
            [event] = f.take(sink)
            sink.deny(event.id, DenialReason.OVERLOADED)
            sink.flush()
            results = f.dispatcher.receive(source, 0.0)
        assert denials(results) == [DenialReason.OVERLOADED]
        assert f.result("overloaded") == 1


def test_a_draining_worker_is_not_asked_again() -> None:
    with front() as f:
        source, sink = f.add_worker()
        f.offer(1)
        [event] = f.take(sink)
        sink.deny(event.id, DenialReason.DRAINING)
        sink.flush()
        assert f.dispatcher.receive(source, 0.0) == []
        assert source.credit > 0
        assert f.dispatcher.waiting == 1
        _, successor = f.add_worker()
        assert len(f.take(successor)) == 1


@pytest.mark.parametrize("reason", [DenialReason.UNREADABLE, DenialReason.UNVERIFIED])
def test_what_no_worker_would_take_is_denied_at_once(reason: DenialReason) -> None:
    with front() as f:
        source, sink = f.add_worker()
        f.add_worker()
        f.offer(1)
        [event] = f.take(sink)
        sink.deny(event.id, reason)
        sink.flush()
        assert denials(f.dispatcher.receive(source, 0.0)) == [reason]


def test_a_payload_that_is_too_large_is_denied() -> None:
    with front() as f:
        f.add_worker()
        denied = f.dispatcher.offer(bytes(PAYLOAD_BYTES_MAX + 1), 0, 0.0)
        assert denied is not None
        assert denied.reason is DenialReason.TOO_LARGE


def test_a_closed_descriptor_is_denied() -> None:
    with front() as f, clients(1) as [(_, descriptor)]:
        f.add_worker()
        f.dispatcher.offer(b"", descriptor, 0.0)
        os.close(descriptor)
        assert denials(f.dispatcher.flush(0.0)) == [DenialReason.BAD_DESCRIPTOR]
        assert f.result("bad_descriptor") == 1


def test_close_gives_everything_up() -> None:
    with front() as f:
        source, _ = f.add_worker(window=1)
        f.offer(3)
        results = f.dispatcher.close(0.0)
        assert Detached(source, CloseReason.CLOSED_HERE) in results
        assert denials(results) == [DenialReason.EXPIRED] * 3
        assert f.dispatcher.sources == ()
