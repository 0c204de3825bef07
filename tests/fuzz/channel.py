"""Both ends of a hand-off channel against a peer that sends anything; a part of `capsule.py`.

Real sockets and descriptors. Asserted: nothing is raised, and Closed comes once and last; every
offer leaves the source exactly once; no descriptor is left open.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from proxy.handoff import (
    Accepted,
    ChannelSettings,
    Closed,
    CloseReason,
    Denied,
    Offer,
    Offered,
    Sink,
    SinkEvent,
    Source,
    SourceEvent,
    channel_pair,
    close_all,
    send_message,
)
from proxy.handoff.frames import encode_answers
from tests.fuzz.scripts import steps
from tests.handoff.ends import open_count

__all__ = ["sink", "source"]

_SETTINGS: Final = ChannelSettings(window=4)
_OFFERS: Final = 3
_MESSAGES: Final = 8
# More than any message that is legal, less than what a socket takes at once.
_LONGEST: Final = 70_000


@contextmanager
def _ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both sockets; at the end no more descriptors are open than before."""
    before = open_count()
    ours, theirs = channel_pair()
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()
    assert open_count() == before, "descriptors left open"


def sink(data: bytes) -> bool:
    """A front that sends messages: each step's operation is how many descriptors come with it."""
    events: list[SinkEvent] = []
    with _ends() as (ours, theirs):
        end = Sink(theirs, _SETTINGS)
        end.flush()
        for _, (count, message) in zip(range(_MESSAGES), steps(data, 6), strict=False):
            _send(ours, message[:_LONGEST], count)
            events += end.receive()
        closed = any(isinstance(event, Closed) for event in events)
        if closed:
            assert isinstance(events[-1], Closed)
            assert events[-1].reason in (CloseReason.VIOLATION, CloseReason.PEER_GONE)
        for event in events[:1]:
            if isinstance(event, Offered) and not closed:
                # Accepted, its descriptor is ours; the others are the sink's until its end.
                end.accept([event.id])
                os.close(event.descriptor)
        end.close()
    return not closed


def _send(channel: socket.socket, message: bytes, count: int) -> None:
    descriptors = [os.eventfd(0) for _ in range(count)]
    try:
        if descriptors:
            send_message(channel, message or b"\0", descriptors)
        else:
            channel.send(message or b"\0")
    except OSError:
        # The end has closed; a real front meets the same.
        return
    finally:
        close_all(descriptors)


def source(data: bytes) -> bool:
    """A worker that answers: each step is a message."""
    offers = [Offer(bytes((one,)), -1, float(one)) for one in range(_OFFERS)]
    events: list[SourceEvent] = []
    with _ends() as (ours, theirs):
        for offer in offers:
            offer.descriptor = os.eventfd(0)
        end = Source(ours, _SETTINGS)
        theirs.send(encode_answers([], [], _OFFERS - 1))
        end.receive()
        for offer in offers[: end.credit]:
            end.offer(offer, 0.0)
        end.flush()
        for _, (_, message) in zip(range(_MESSAGES), steps(data, 1), strict=False):
            _send(theirs, message[:_LONGEST], 0)
            events += end.receive()
        violated = any(isinstance(event, Closed) for event in events)
        events += end.end()
        settlement = end.settle()
        end.close()
        close_all(offer.descriptor for offer in offers)
    left = [*settlement.orphans, *settlement.condemned]
    for event in events:
        match event:
            case Accepted(taken):
                left += taken
            case Denied(offer):
                left.append(offer)
    assert sorted(map(id, left)) == sorted(map(id, offers[: _OFFERS - 1]))
    assert sum(isinstance(event, Closed) for event in events) == 1
    assert violated or not settlement.condemned
    return not violated
