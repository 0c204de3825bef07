"""The shared buffers: room for whatever one batch becomes, and nobody's bytes in another's."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading

import pytest

from proxy.edge import Stream
from proxy.edge.buffers import PLAINTEXT_BYTES, RECEIVE_BYTES, RECORD_BYTES, buffers
from proxy.edge.stream import WRITE_PIECE
from proxy.tls import sent_size
from tests.edge.legs import KINDS, sessions, tcp_pair

SOON_S = 30.0
STREAMS = 4
BODY = 3 << 20


def test_a_batch_fits_wherever_it_goes() -> None:
    assert len(buffers.received) == RECEIVE_BYTES
    assert len(buffers.opened) >= RECEIVE_BYTES + RECORD_BYTES
    assert len(buffers.sealed) >= sent_size(PLAINTEXT_BYTES)
    assert len(buffers.opened) <= WRITE_PIECE, "or a write would wait while it holds a view"


def test_each_thread_has_its_own() -> None:
    others: list[memoryview] = []
    thread = threading.Thread(target=lambda: others.append(buffers.received))
    thread.start()
    thread.join()
    others[0][:1] = b"a"
    buffers.received[:1] = b"b"
    assert bytes(others[0][:1]) == b"a"


@pytest.mark.parametrize("outward", KINDS)
@pytest.mark.parametrize("inward", KINDS)
async def test_streams_that_share_them_do_not_mix(inward: str, outward: str) -> None:
    """Small kernel buffers make every write wait with bytes left over."""
    bodies = [os.urandom(BODY) for _ in range(STREAMS)]
    async with asyncio.timeout(SOON_S):
        arrived = await asyncio.gather(*(carried(body, inward, outward) for body in bodies))
    assert arrived == [hashlib.sha256(body).hexdigest() for body in bodies]


async def carried(body: bytes, inward: str, outward: str) -> str:
    """The digest of what arrives of it behind a relay with these sessions."""
    streams = []
    for kind in (inward, outward):
        near, far = tcp_pair(buffers=65536)
        session, facing = sessions(kind)
        streams += [Stream(near.detach(), session), Stream(far.detach(), facing)]
    source, entry, exit_, sink = streams

    async def send() -> None:
        await source.write(body)
        await source.close_write()

    async def relay() -> None:
        while data := await entry.read_view(SOON_S):
            await exit_.write(data, SOON_S)
        await exit_.close_write()

    async def receive() -> str:
        received = hashlib.sha256()
        while data := await sink.read_view(SOON_S):
            received.update(data)
        return received.hexdigest()

    digest, _, _ = await asyncio.gather(receive(), relay(), send())
    for stream in streams:
        stream.abort()
    return digest
