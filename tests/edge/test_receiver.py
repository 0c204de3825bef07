"""The receiving half of a stream: ends that the kernel reports once, to whoever asks first."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence

import pytest

from proxy.edge import PlainSession, Stream, StreamError
from proxy.edge.buffers import RECORD_BYTES
from proxy.edge.receiver import READ_BYTES, WARY_BYTES
from proxy.tls import ApplicationData, CloseNotify
from tests.edge.legs import tcp_pair

SOON_S = 10.0
"""Bounds waits that end by an event; reaching it fails the test."""


class Indebted(PlainSession):
    """Finds nothing in what it is given but a question, as a KeyUpdate is, and owes an answer."""

    __slots__ = ()

    def receive(self, data: memoryview, /) -> Sequence[ApplicationData | CloseNotify]:
        return []

    def data_to_send(self) -> bytes:
        return b"answer"


async def test_the_reader_is_told_of_a_reset_that_an_answer_met() -> None:
    near, far = tcp_pair()
    stream = Stream(near.detach(), Indebted())
    reading = asyncio.create_task(stream.read(SOON_S))
    await asyncio.sleep(0)
    far.send(b"question")
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    with pytest.raises(StreamError) as caught:
        await reading
    assert caught.value.reason in {"reset", "broken_pipe"}
    stream.abort()


class Sizes(PlainSession):
    """Notes how much it is given at a time; `worth` of it is plaintext."""

    __slots__ = ("given", "worth")

    def __init__(self, worth: float) -> None:
        self.given: list[int] = []
        self.worth = worth

    def receive(self, data: memoryview, /) -> Sequence[ApplicationData | CloseNotify]:
        if not data:
            return []
        self.given.append(len(data))
        return [ApplicationData(bytes(data[: int(self.worth * len(data))]))]


@pytest.mark.parametrize(
    ("worth", "at_most"), [(0.04, WARY_BYTES), (0.5, READ_BYTES), (1.0, READ_BYTES)]
)
async def test_what_brings_little_plaintext_is_taken_in_small_pieces(
    worth: float, at_most: int
) -> None:
    """Others wait for the end of each piece, and bytes of tiny records cost the most."""
    sent = 4 * READ_BYTES
    near, far = tcp_pair(buffers=sent)
    session = Sizes(worth)
    stream = Stream(near.detach(), session)
    loop = asyncio.get_running_loop()
    with far:
        sending = asyncio.create_task(loop.sock_sendall(far, bytes(sent)))
        while sum(session.given) < sent:
            await stream.read(SOON_S)
        await sending
    first, *others = session.given
    assert first <= RECORD_BYTES
    assert max(others) <= at_most
    assert max(others) > at_most // 4, "and no smaller than need be"
    stream.abort()


async def test_a_stream_can_win_back_its_name() -> None:
    near, far = tcp_pair(buffers=4 * READ_BYTES)
    session = Sizes(0.04)
    stream = Stream(near.detach(), session)
    loop = asyncio.get_running_loop()
    with far:
        sending = asyncio.create_task(loop.sock_sendall(far, bytes(4 * READ_BYTES)))
        while sum(session.given) < 4 * READ_BYTES:
            await stream.read(SOON_S)
            if len(session.given) > 8:
                session.worth = 1.0
        await sending
    assert max(session.given[1:8]) <= WARY_BYTES < max(session.given[9:])
    stream.abort()
