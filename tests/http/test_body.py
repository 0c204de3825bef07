"""Bodies in motion: hashes, limits of memory, clients and backends that stop half-way."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from proxy.http import HttpSettings
from tests.http.rig import GET, OK, Peer, Rig

MEGABYTE = os.urandom(1 << 20)
COUNT = 16


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_large_bodies_arrive_whole_in_both_directions(chunked: bool) -> None:
    expected = hashlib.sha256(MEGABYTE * COUNT).digest()
    size = len(MEGABYTE) * COUNT

    async def mirror(peer: Peer) -> None:
        await peer.head()
        body = await peer.chunked() if chunked else await peer.exactly(size)
        peer.received = b""
        assert hashlib.sha256(body).digest() == expected
        if chunked:
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, body))
        await peer.flush()

    async with Rig(mirror) as rig, rig.client() as client:
        field = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n")
        for _ in range(COUNT):
            client.send(b"100000\r\n%b\r\n" % MEGABYTE if chunked else MEGABYTE)
            await client.flush()
        client.send(b"0\r\n\r\n" if chunked else b"")
        reply = await client.response()
        assert hashlib.sha256(reply.body).digest() == expected


async def test_a_backend_that_does_not_read_holds_the_client_back() -> None:
    go = asyncio.Event()

    async def late(peer: Peer) -> None:
        await go.wait()
        peer.writer.close()

    offered = 40_000_000
    async with Rig(late, write_timeout_s=0.3) as rig, rig.client() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % offered)
        client.send(b"x" * offered)
        record = await rig.record()
        assert record.reason == "backend_write_timeout"
        # What the kernel's buffers of both legs hold, and one batch; not what was offered.
        assert record.request_bytes < offered // 2
        go.set()


async def test_a_client_that_does_not_read_holds_the_backend_back() -> None:
    sent = 0

    async def endless(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(MEGABYTE)
            await peer.writer.drain()
            sent += 1

    settings = HttpSettings(client_write_timeout_s=0.3)
    async with Rig(endless, settings=settings) as rig, rig.client() as client:
        client.send(GET)
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        record = await rig.record()
        assert (record.status, record.reason) == (200, "client_stalled")
        assert sent < 40


async def test_a_client_that_stops_in_its_body_is_a_408() -> None:
    async def reading(peer: Peer) -> None:
        await peer.rest()

    settings = HttpSettings(body_timeout_s=0.1)
    async with Rig(reading, settings=settings) as rig, rig.client() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        reply = await client.response()
        assert (reply.status, reply.field(b"Connection")) == (408, b"close")
        record = await rig.record()
        assert (record.reason, record.backend) == ("body_timeout", "app")


async def test_a_client_that_ends_in_its_body_is_a_400() -> None:
    async def reading(peer: Peer) -> None:
        with pytest.raises(ConnectionResetError):
            await peer.rest()

    async with Rig(reading) as rig, rig.client() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        client.end()
        assert (await client.response()).status == 400
        assert (await rig.record()).reason == "body_truncated"


async def test_a_client_that_resets_in_its_body_leaves_an_unfinished_request() -> None:
    outcome: asyncio.Future[BaseException | bytes] = asyncio.get_running_loop().create_future()

    async def reading(peer: Peer) -> None:
        await peer.head()
        try:
            outcome.set_result(await peer.rest())
        except ConnectionResetError as error:
            outcome.set_result(error)

    async with Rig(reading) as rig, rig.client() as client:
        client.send(
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        )
        await rig.backend_peer()
        client.reset()
        record = await rig.record()
        assert (record.status, record.reason) == (499, "client_reset")
        assert isinstance(await outcome, ConnectionResetError)


async def test_the_answer_of_a_backend_that_stopped_reading_is_relayed() -> None:
    async def impatient(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        await peer.flush()
        peer.writer.close()

    async with Rig(impatient) as rig, rig.client() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        reply = await client.response()
        assert (reply.status, reply.body) == (403, b"no")
        assert reply.field(b"Connection") == b"close"
        assert (await rig.record()).close == "answered_early"


async def test_pipelined_bytes_behind_a_streamed_body_are_the_next_request() -> None:
    async def two(peer: Peer) -> None:
        while True:
            if (await peer.head()).startswith(b"PUT"):
                await peer.exactly(5)
            peer.send(OK)

    async with Rig(two) as rig, rig.client() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        await rig.backend_peer()
        client.send(b"hello" + GET)
        assert (await client.response()).status == 200
        assert (await client.response()).status == 200
        assert len(rig.backends) == 1
