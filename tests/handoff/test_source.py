"""The front's end, on real sockets."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import pytest

from proxy.handoff import (
    Accepted,
    ChannelSettings,
    Closed,
    CloseReason,
    Credited,
    DenialReason,
    Denied,
    NoCredit,
    Offer,
    PayloadTooLarge,
    Source,
    channel_pair,
)
from proxy.handoff.frames import batch_header, decode_offers, encode_answers
from proxy.handoff.settings import PAYLOAD_BYTES_MAX
from tests.handoff.ends import clients, ends, fill, offer, offered, open_count, read_from


def test_there_is_no_offer_without_credit() -> None:
    ours, theirs = channel_pair()
    with theirs:
        source = Source(ours, ChannelSettings())
        with pytest.raises(NoCredit):
            offer(source, b"", 0)
        theirs.send(encode_answers([], [], 1))
        assert source.receive() == [Credited(1)]
        offer(source, b"", 0)
        with pytest.raises(NoCredit):
            offer(source, b"", 0)
        source.close()


@pytest.mark.requirement("A42")
def test_an_offer_arrives_with_its_descriptor_and_is_accepted() -> None:
    with ends() as (source, sink), clients(1) as [(client, descriptor)]:
        made = offer(source, b"capsule", descriptor)
        assert source.flush()
        assert source.unanswered == 1
        [event] = offered(sink.receive())
        assert event.payload == b"capsule"
        assert event.descriptor != descriptor
        assert sink.accept([event.id])
        os.write(event.descriptor, b"from the worker")
        assert client.recv(100) == b"from the worker"
        assert source.receive() == [Accepted((made,)), Credited(1)]
        os.close(event.descriptor)


def test_a_denied_offer_is_the_fronts_again() -> None:
    with ends() as (source, sink), clients(1) as [(client, descriptor)]:
        made = offer(source, b"capsule", descriptor)
        source.flush()
        before = open_count()
        [event] = offered(sink.receive())
        sink.deny(event.id, DenialReason.OVERLOADED)
        assert sink.flush()
        assert source.receive() == [Denied(made, DenialReason.OVERLOADED), Credited(1)]
        assert open_count() <= before
        os.write(descriptor, b"still ours")
        assert client.recv(100) == b"still ours"


@pytest.mark.parametrize("size", [65_536 - 10, 65_536 - 9, PAYLOAD_BYTES_MAX])
def test_a_payload_of_any_size_arrives(size: int) -> None:
    payload = os.urandom(size)
    with ends() as (source, sink), clients(3) as items:
        before = open_count()
        offer(source, b"first", items[0][1])
        offer(source, payload, items[1][1])
        offer(source, b"last", items[2][1])
        assert source.flush()
        events = offered(sink.receive()) + offered(sink.receive())
        assert [event.payload for event in events] == [b"first", payload, b"last"]
        for event, (client, _) in zip(events, items, strict=True):
            client.send(b"hello")
            assert read_from(event.descriptor) == b"hello"
        sink.accept([event.id for event in events])
        for event in events:
            os.close(event.descriptor)
        assert open_count() == before


def test_a_payload_beyond_the_bound_is_refused() -> None:
    with ends() as (source, _):
        with pytest.raises(PayloadTooLarge):
            offer(source, bytes(PAYLOAD_BYTES_MAX + 1), 0)
        assert source.queued == 0


def test_batches_fit_a_small_send_buffer() -> None:
    ours, theirs = channel_pair()
    with theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        limit = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        source = Source(ours, ChannelSettings())
        theirs.send(encode_answers([], [], 100))
        source.receive()
        with clients(1) as [(_, descriptor)]:
            for _ in range(20):
                offer(source, bytes(1000), descriptor)
            seen = 0
            while source.queued:
                source.flush()
                message = theirs.recv(65536)
                assert len(message) <= limit // 2
                seen += len(decode_offers(message))
            while seen < 20:
                seen += len(decode_offers(theirs.recv(65536)))
        source.close()


def test_a_full_socket_leaves_the_batch_queued() -> None:
    with ends(ChannelSettings(window=4096)) as (source, sink), clients(1) as [(_, descriptor)]:
        count = 0
        sent = True
        while sent:
            offer(source, bytes(4000), descriptor)
            count += 1
            sent = source.flush()
        assert source.queued == 1
        assert (source.flush(), source.wants_write) == (False, True)
        events = offered(sink.receive())
        assert (source.flush(), source.wants_write) == (True, False)
        while len(events) < count:
            events += offered(sink.receive())
        assert [event.id for event in events] == list(range(count))


IN_FLIGHT = """
import os, resource
from proxy.handoff import ChannelSettings, Offer, Source, channel_pair
from proxy.handoff.frames import encode_answers
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
os.setuid(65534)
channels = []
for _ in range(5):
    ours, theirs = channel_pair()
    source = Source(ours, ChannelSettings(batch_descriptors=20))
    theirs.send(encode_answers([], [], 30))
    source.receive()
    for _ in range(30):
        source.offer(Offer(b"", 0, 0.0), 0.0)
    channels.append((source, theirs, source.flush()))
last = channels[-1][0]
print([flushed for _, _, flushed in channels], last.queued, last.wants_write)
channels[0][1].recv(65536), channels[0][1].recv(65536)
channels[1][1].recv(65536), channels[1][1].recv(65536)
print(last.flush(), last.queued)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's limit can be set by root only")
def test_too_many_descriptors_in_flight_is_tried_again_later() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_FLIGHT], capture_output=True, text=True, timeout=30
    )
    assert (done.stderr, done.stdout) == (
        "",
        "[True, True, False, False, False] 30 False\nTrue 0\n",
    )


def test_a_closed_descriptor_costs_only_its_own_offer() -> None:
    with ends() as (source, sink), clients(2) as [(_, first), (_, second)]:
        bad = os.dup(first)
        offer(source, b"one", first)
        broken = offer(source, b"two", bad)
        offer(source, b"three", second)
        os.close(bad)
        assert not source.flush(), "there is something to report"
        assert source.receive() == [Denied(broken, DenialReason.BAD_DESCRIPTOR)]
        assert [event.payload for event in offered(sink.receive())] == [b"one", b"three"]


def test_acknowledgements_are_read_past_a_reset() -> None:
    ours, theirs = channel_pair()
    source = Source(ours, ChannelSettings())
    theirs.send(encode_answers([], [], 3))
    source.receive()
    with clients(3) as items:
        made = [offer(source, b"", descriptor) for _, descriptor in items]
        source.flush()
        theirs.send(encode_answers([0], [], 0))
        theirs.send(encode_answers([], [(2, DenialReason.DRAINING)], 0))
        theirs.close()  # with our batch unread: Linux answers ECONNRESET first
        assert source.receive() == [
            Accepted((made[0],)),
            Denied(made[2], DenialReason.DRAINING),
            Closed(CloseReason.PEER_GONE),
        ]
        settlement = source.settle()
        assert settlement.orphans == (made[1],)
        assert settlement.condemned == ()
    source.close()


def test_a_reset_met_while_sending_is_no_loss_either() -> None:
    ours, theirs = channel_pair()
    source = Source(ours, ChannelSettings())
    theirs.send(encode_answers([], [], 3))
    source.receive()
    with clients(2) as items:
        first = offer(source, b"", items[0][1])
        source.flush()
        theirs.send(encode_answers([0], [], 0))
        theirs.close()
        second = offer(source, b"", items[1][1])
        assert not source.flush()
        assert not source.wants_write
        assert source.receive() == [Accepted((first,)), Closed(CloseReason.PEER_GONE)]
        assert source.settle().orphans == (second,)
        with pytest.raises(NoCredit):
            source.offer(second, 0.0)
    source.close()


def test_end_reads_what_was_sent_and_stops_what_was_not() -> None:
    """A live worker may have answered a moment ago, or may be about to."""
    with ends() as (source, sink), clients(2) as items:
        first = offer(source, b"", items[0][1])
        second = offer(source, b"", items[1][1])
        source.flush()
        events = offered(sink.receive())
        assert sink.accept([events[0].id])
        assert source.end() == [Accepted((first,)), Credited(1), Closed(CloseReason.CLOSED_HERE)]
        assert not sink.accept([events[1].id])
        assert source.settle().orphans == (second,)
        assert sink.receive() == [Closed(CloseReason.PEER_GONE, revoked=(events[1].id,))]
        for event in events:
            os.close(event.descriptor)
        assert source.end() == []


@pytest.mark.parametrize(
    "message", [b"\xff", b"\x02\x00", encode_answers([77], [], 0), encode_answers([], [], 5000)]
)
def test_a_violation_condemns_what_was_sent(message: bytes) -> None:
    ours, theirs = channel_pair()
    source = Source(ours, ChannelSettings())
    theirs.send(encode_answers([], [], 3))
    source.receive()
    with theirs, clients(2) as [(client, first), (_, second)]:
        sent = offer(source, b"", first)
        source.flush()
        queued = offer(source, b"", second)
        theirs.send(message)
        [closed] = source.receive()
        assert isinstance(closed, Closed)
        assert closed.reason is CloseReason.VIOLATION
        settlement = source.settle()
        assert settlement.orphans == (queued,)
        assert settlement.condemned == (sent,)
        assert client.recv(10) == b"", "the connection itself is over, whoever has a copy"
        with pytest.raises(BrokenPipeError):
            theirs.send(b"more")
    source.close()


def test_what_preceded_a_violation_still_counts() -> None:
    ours, theirs = channel_pair()
    source = Source(ours, ChannelSettings())
    theirs.send(encode_answers([], [], 3))
    source.receive()
    with theirs, clients(1) as [(_, descriptor)]:
        made = offer(source, b"", descriptor)
        source.flush()
        theirs.send(encode_answers([0], [], 0))
        theirs.send(b"\xff")
        assert source.receive()[0] == Accepted((made,))
        assert source.settle().condemned == ()
    source.close()


def test_descriptors_sent_to_a_front_are_not_taken() -> None:
    ours, theirs = channel_pair()
    with theirs:
        source = Source(ours, ChannelSettings())
        before = open_count()
        socket.send_fds(theirs, [encode_answers([], [], 1)], [theirs.fileno()] * 3)
        assert source.receive() == [Credited(1)]
        assert open_count() == before
        source.close()


def test_one_turn_reads_a_bounded_number_of_messages() -> None:
    ours, theirs = channel_pair()
    with theirs:
        source = Source(ours, ChannelSettings())
        sent = fill(theirs, encode_answers([], [], 1))
        assert sent > 64
        assert len(source.receive()) == 64
        assert len(source.receive()) == min(64, sent - 64)
        source.close()


def test_closing_leaves_nothing_open() -> None:
    before = open_count()
    with ends() as (source, _), clients(1) as [(_, descriptor)]:
        offer(source, bytes(PAYLOAD_BYTES_MAX), descriptor)
        source.close()
        assert source.fileno() == -1
    assert open_count() == before


def test_settling_closes_the_memory_files_that_were_not_sent() -> None:
    with ends() as (source, _), clients(1) as [(_, descriptor)]:
        before = open_count()
        made = offer(source, bytes(PAYLOAD_BYTES_MAX), descriptor)
        assert open_count() == before + 1
        assert source.settle().orphans == (made,)
        assert open_count() == before


def test_a_batch_is_what_the_format_says() -> None:
    ours, theirs = channel_pair()
    with theirs, clients(1) as [(_, descriptor)]:
        source = Source(ours, ChannelSettings())
        theirs.send(encode_answers([], [], 1))
        source.receive()
        source.offer(Offer(b"abc", descriptor, 0.0), 0.0)
        source.flush()
        assert theirs.recv(100) == batch_header(1) + bytes.fromhex("00000000 00000003") + b"abc"
        source.close()


def test_the_reset_is_what_this_kernel_does() -> None:
    """The ground of two tests above; a kernel that differs should be noticed."""
    ours, theirs = channel_pair()
    with ours:
        ours.send(b"unread")
        theirs.send(b"last words")
        theirs.close()
        with pytest.raises(ConnectionResetError) as reset:
            ours.recv(100)
        assert reset.value.errno == errno.ECONNRESET
        assert ours.recv(100) == b"last words"
        assert ours.recv(100) == b""


def test_a_dead_workers_words_are_read_to_the_end_in_one_call() -> None:
    """A loop that had an error on the descriptor does not call a second time."""
    ours, theirs = channel_pair()
    source = Source(ours, ChannelSettings())
    with clients(101) as pairs:
        theirs.send(encode_answers([], [], 101))
        source.receive()
        for number, (_, descriptor) in enumerate(pairs):
            offer(source, b"%d" % number, descriptor)
            assert source.flush()
        for number in range(100):
            theirs.send(encode_answers([number], [], 0))
        theirs.close()  # with the offers unread, which resets our end
        events = source.receive()
        assert sum(len(event.offers) for event in events if isinstance(event, Accepted)) == 100
        assert isinstance(events[-1], Closed)
        assert [one.payload for one in source.settle().orphans] == [b"100"]
        source.close()
