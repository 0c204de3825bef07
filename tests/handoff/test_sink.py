"""The worker's end, on real sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from proxy.handoff import (
    AcceptanceSent,
    Accepted,
    ChannelSettings,
    Closed,
    CloseReason,
    Credited,
    DenialReason,
    Denied,
    Misuse,
    Sink,
    channel_pair,
)
from proxy.handoff.descriptors import send_message
from proxy.handoff.frames import (
    AcceptedFrame,
    AnswerFrame,
    CreditFrame,
    DeniedFrame,
    batch_header,
    decode_answers,
    memory_offer_header,
    offer_header,
)
from proxy.handoff.memory import sealed
from tests.handoff.ends import clients, ends, fill, offer, offered, open_count

WINDOW_8 = ChannelSettings(window=8)

NO_ANSWERS = b"\x02\x00\x00"
"""A message without effect: an empty list of acceptances."""


def opened(settings: ChannelSettings = WINDOW_8) -> tuple[socket.socket, Sink]:
    """A front's bare socket and a sink that has granted its window."""
    ours, theirs = channel_pair()
    sink = Sink(theirs, settings)
    assert sink.flush()
    assert answers(ours) == [CreditFrame(settings.window)]
    return ours, sink


def answers(front: socket.socket) -> list[AnswerFrame]:
    return decode_answers(front.recv(65536))


def batch(*ids: int) -> bytes:
    return batch_header(len(ids)) + b"".join(offer_header(i, 1) + b"p" for i in ids)


def test_credit_comes_with_spare_descriptors() -> None:
    before = open_count()
    front, sink = opened()
    with front:
        assert open_count() == before + 2 + 8 + 1, "one each, and one for a memory file"
        assert sink.flush()
        with pytest.raises(BlockingIOError):
            front.recv(100)
        sink.close()
    assert open_count() == before


def test_acceptance_and_new_credit_are_one_message() -> None:
    front, sink = opened()
    with front:
        send_message(front, batch(1, 2, 3), [0, 0, 0])
        events = offered(sink.receive())
        sink.deny(2, DenialReason.OVERLOADED)
        assert sink.accept([1, 3])
        assert answers(front) == [
            AcceptedFrame((1, 3)),
            DeniedFrame(((2, DenialReason.OVERLOADED),)),
            CreditFrame(3),
        ]
        sink.close()
        os.close(events[0].descriptor)
        os.close(events[2].descriptor)


def test_an_acceptance_that_cannot_go_out_is_reported_late() -> None:
    with ends() as (source, sink), clients(2) as items:
        made = [offer(source, b"", descriptor) for _, descriptor in items]
        source.flush()
        first, second = offered(sink.receive())
        fill(sink._socket, NO_ANSWERS)
        assert not sink.accept([first.id])
        assert (sink.flush(), sink.wants_write) == (False, True)
        assert sink.receive() == []
        while not sink.flush():
            source._socket.recv(65536)
        # Wanted once more, since there is something to report.
        assert (sink.wants_write, sink.receive()) == (True, [AcceptanceSent((first.id,))])
        assert (sink.wants_write, sink.receive()) == (False, [])
        events = [event for _ in range(99) for event in source.receive()]
        assert Accepted((made[0],)) in events
        os.close(first.descriptor)
        sink.deny(second.id, DenialReason.DRAINING)


@pytest.mark.parametrize("unread", [False, True])
def test_offers_of_a_front_that_died_are_dropped_unread(unread: bool) -> None:
    """`unread`: it died with words of ours unread too, and the kernel reports that first."""
    before = open_count()
    front, theirs = channel_pair()
    sink = Sink(theirs, WINDOW_8)
    assert sink.flush()
    if not unread:
        assert answers(front) == [CreditFrame(8)]
    with clients(2) as items:
        descriptors = [descriptor for _, descriptor in items]
        send_message(front, batch(1, 2), descriptors)
        front.close()
        for descriptor in descriptors:
            os.close(descriptor)
        (closed,) = sink.receive()
        assert isinstance(closed, Closed)
        assert (closed.reason, closed.revoked) == (CloseReason.PEER_GONE, ())
        sink.close()
        assert [client.recv(1) for client, _ in items] == [b"", b""]
    assert open_count() == before


def test_an_acceptance_sent_by_a_later_one_is_reported_too() -> None:
    with ends() as (source, sink), clients(2) as items:
        for _, descriptor in items:
            offer(source, b"", descriptor)
        source.flush()
        first, second = offered(sink.receive())
        fill(sink._socket, NO_ANSWERS)
        assert not sink.accept([first.id])
        for _ in range(99):
            source.receive()
        assert sink.accept([second.id])
        assert sink.wants_write
        assert sink.receive() == [AcceptanceSent((first.id,))]
        os.close(first.descriptor)
        os.close(second.descriptor)


def test_an_acceptance_that_never_went_out_is_revoked() -> None:
    with ends() as (source, sink), clients(2) as items:
        for _, descriptor in items:
            offer(source, b"", descriptor)
        source.flush()
        first, second = offered(sink.receive())
        source.settle()
        before = open_count()
        assert not sink.accept([first.id])
        assert sink.receive() == [Closed(CloseReason.PEER_GONE, revoked=(first.id,))]
        assert sink.receive() == []
        os.close(first.descriptor)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(second.descriptor)
        assert open_count() < before - 2, "the spares are given back as well"
        with pytest.raises(Misuse):
            sink.accept([second.id])


def test_a_smaller_window_stops_the_credit() -> None:
    with ends(WINDOW_8) as (source, sink), clients(1) as [(_, descriptor)]:
        sink.window = 0
        for _ in range(8):
            offer(source, b"", descriptor)
        source.flush()
        for event in offered(sink.receive()):
            sink.deny(event.id, DenialReason.DRAINING)
        assert sink.flush()
        events = source.receive()
        assert len(events) == 8
        assert all(isinstance(event, Denied) for event in events)
        assert source.credit == 0
        sink.window = 3
        assert sink.flush()
        assert source.receive() == [Credited(3)]


def test_closing_denies_what_is_unanswered() -> None:
    with ends() as (source, sink), clients(2) as items:
        made = [offer(source, b"", descriptor) for _, descriptor in items]
        source.flush()
        sink.receive()
        late = offer(source, b"", items[0][1])
        source.flush()
        assert sink.close() == Closed(CloseReason.CLOSED_HERE)
        assert sink.fileno() == -1
        assert source.receive() == [
            Denied(made[0], DenialReason.DRAINING),
            Denied(made[1], DenialReason.DRAINING),
            Closed(CloseReason.PEER_GONE),
        ]
        assert source.settle().orphans == (late,)


def test_closing_takes_back_an_acceptance_that_did_not_go_out() -> None:
    with ends() as (source, sink), clients(1) as [(_, descriptor)]:
        made = offer(source, b"", descriptor)
        source.flush()
        [event] = offered(sink.receive())
        fill(sink._socket, NO_ANSWERS)
        assert not sink.accept([event.id])
        for _ in range(99):
            assert source.receive() == []
        assert sink.close() == Closed(CloseReason.CLOSED_HERE, revoked=(event.id,))
        os.close(event.descriptor)
        denied, closed = source.receive()
        assert (denied, type(closed)) == (Denied(made, DenialReason.DRAINING), Closed)


@pytest.mark.parametrize(
    ("message", "descriptors"),
    [
        (b"\xff", 0),
        (b"\xff", 3),
        (batch(1)[:-1], 1),
        (batch(1, 1), 2),
        (batch(1, 2), 1),
        (batch(1), 2),
        (batch(*range(9)), 9),
        (batch_header(2) + memory_offer_header(1, 1), 2),
        (bytes(70_000), 0),
    ],
)
def test_a_violation_closes_the_channel_and_leaks_nothing(message: bytes, descriptors: int) -> None:
    before = open_count()
    front, sink = opened()
    with front:
        rights = [front.fileno()] * descriptors
        if descriptors:
            send_message(front, message, rights)
        else:
            front.send(message)
        [closed] = sink.receive()
        assert isinstance(closed, Closed)
        assert closed.reason is CloseReason.VIOLATION
        assert not sink.accept([])
        sink.close()
    assert open_count() == before


@pytest.mark.parametrize("announced", [5, 7])
def test_a_memory_file_of_another_size_is_a_violation(announced: int) -> None:
    before = open_count()
    front, sink = opened()
    with front:
        memory = sealed(b"memory")
        send_message(front, batch_header(2) + memory_offer_header(1, announced), [0, memory])
        os.close(memory)
        [closed] = sink.receive()
        assert isinstance(closed, Closed)
        assert closed.reason is CloseReason.VIOLATION
        sink.close()
    assert open_count() == before


def test_a_memory_files_spare_is_taken_again() -> None:
    before = open_count()
    front, sink = opened()
    with front:
        memory = sealed(b"memory")
        send_message(front, batch_header(2) + memory_offer_header(1, 6), [0, memory])
        os.close(memory)
        [event] = offered(sink.receive())
        assert event.payload == b"memory"
        assert open_count() == before + 2 + 1 + 7 + 1
        sink.close()


LIMITED = """
import resource, socket, sys
from proxy.handoff import ChannelSettings, Offered, Sink
from tests.handoff.ends import open_count
import os, select
channel = socket.socket(fileno=int(sys.argv[1]))
sink = Sink(channel, ChannelSettings(window=20))
def limit(spare):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_count() - 1 + spare, hard))
limit(11)
sink.flush()
kept = []
print("ready", flush=True)
while True:
    select.select([sink], [], [])
    for event in sink.receive():
        if not isinstance(event, Offered):
            sys.exit(0)
        kept.append(event.descriptor)
        assert sink.accept([event.id])
    print(len(kept), flush=True)
"""


def test_a_worker_at_its_limit_gives_less_credit_instead_of_losing_batches() -> None:
    front, theirs = channel_pair()
    command = [sys.executable, "-c", LIMITED, str(theirs.fileno())]
    with (
        front,
        subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True
        ) as worker,
    ):
        theirs.close()
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        assert answers(front) == [CreditFrame(10)], "11 numbers are free, one for a memory file"
        front.setblocking(True)
        send_message(front, batch(*range(10)), [0] * 10)
        assert worker.stdout.readline() == "10\n"
        frames = answers(front)
        assert frames == [AcceptedFrame((0,))], "accepted, and no credit any more"
        front.shutdown(socket.SHUT_RDWR)
        assert worker.wait(30) == 0


TRUNCATED = """
import resource, select, socket, sys
from proxy.handoff import ChannelSettings, Sink
from tests.handoff.ends import open_count
channel = socket.socket(fileno=int(sys.argv[1]))
sink = Sink(channel, ChannelSettings(window=8))
sink.flush()
sink._reserve.close()  # as if other threads had taken every number
before = open_count()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1 + 2, hard))
select.select([sink], [], [])
events = sink.receive()
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
print(events, open_count() - before == len(sink._reserve))
"""


def test_a_truncated_batch_is_denied_and_the_channel_goes_on() -> None:
    front, theirs = channel_pair()
    with front:
        worker = subprocess.Popen(
            [sys.executable, "-c", TRUNCATED, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        theirs.close()
        front.setblocking(True)
        assert answers(front) == [CreditFrame(8)]
        send_message(front, batch(1, 2, 3, 4), [0] * 4)
        output, _ = worker.communicate(timeout=30)
        assert output == "[] True\n"
        reason = DenialReason.DESCRIPTORS
        assert answers(front)[0] == DeniedFrame(tuple((i, reason) for i in (1, 2, 3, 4)))
