"""Both ends of a channel in one process, and clients to hand over."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from proxy.handoff import (
    ChannelSettings,
    Offer,
    Offered,
    Sink,
    SinkEvent,
    Source,
    channel_pair,
)


@contextmanager
def ends(settings: ChannelSettings | None = None) -> Iterator[tuple[Source, Sink]]:
    """A source and a sink that has granted its credit; both are closed at last."""
    ours, theirs = channel_pair()
    settings = settings or ChannelSettings()
    source, sink = Source(ours, settings), Sink(theirs, settings)
    assert sink.flush()
    source.receive()
    try:
        yield source, sink
    finally:
        source.close()
        if sink.fileno() >= 0:
            sink.close()


@contextmanager
def clients(count: int) -> Iterator[list[tuple[socket.socket, int]]]:
    """Connected pairs: the client's end, and the descriptor a front would have of it."""
    pairs: list[tuple[socket.socket, int]] = []
    try:
        for _ in range(count):
            client, ours = socket.socketpair()
            pairs.append((client, ours.detach()))
        yield pairs
    finally:
        for client, descriptor in pairs:
            client.close()
            close_if_open(descriptor)


def offer(source: Source, payload: bytes, descriptor: int, now: float = 0.0) -> Offer:
    """Make one offer; it is not sent."""
    made = Offer(payload, descriptor, now)
    source.offer(made, now)
    return made


def close_if_open(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return


def open_count() -> int:
    """Descriptors open in this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def offered(events: Sequence[SinkEvent]) -> list[Offered]:
    """The events, all of which must be offers."""
    result = [event for event in events if isinstance(event, Offered)]
    assert len(result) == len(events), events
    return result


def read_from(descriptor: int) -> bytes:
    """What a handed-over socket has to read."""
    return os.read(descriptor, 65536)


def fill(socket_: socket.socket, message: bytes) -> int:
    """Send until the socket takes no more; returns how many messages it took."""
    count = 0
    while True:
        try:
            socket_.send(message)
        except BlockingIOError:
            return count
        count += 1
