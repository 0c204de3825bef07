"""Clients that leave while their request is being served."""

from __future__ import annotations

import asyncio

import pytest

from tests.http.rig import GET, Peer, Rig


async def test_the_backend_is_released_when_the_client_resets_before_the_answer() -> None:
    ended = asyncio.Event()

    async def waiting(peer: Peer) -> None:
        await peer.head()
        try:
            await peer.rest()
        finally:
            ended.set()

    async with Rig(waiting) as rig, rig.client() as client:
        client.send(GET)
        await rig.backend_peer()
        client.reset()
        record = await rig.record()
        assert (record.status, record.reason) == (499, "client_closed")
        await asyncio.wait_for(ended.wait(), 10)
        state = rig.backend.state()[0]
        assert (state.in_use, state.idle, state.in_rotation) == (0, 0, True)


@pytest.mark.parametrize("apart", [True, False])
async def test_a_reset_behind_a_pipelined_request_is_noticed(*, apart: bool) -> None:
    async def waiting(peer: Peer) -> None:
        await peer.head()
        await peer.rest()

    async with Rig(waiting) as rig, rig.client() as client, rig.client() as other:
        client.send(GET)
        await rig.backend_peer()
        client.send(GET)
        if apart:
            # One loop serves both: when this is answered, the second request has been taken.
            other.send(b"GET /x HTTP/1.1\r\nHost: strict\r\n\r\n")
            assert (await rig.record()).status == 404
        client.reset()
        assert (await rig.record()).reason == "client_closed"


async def test_the_backend_is_released_when_the_client_resets_in_a_silent_stream() -> None:
    async def stream(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        with pytest.raises(ConnectionResetError):
            await peer.rest()

    async with Rig(stream) as rig, rig.client() as client:
        client.send(GET)
        await client.until(b"data: 1\n\n")
        client.reset()
        record = await rig.record()
        assert (record.status, record.reason, record.phase) == (200, "client_closed", "relay_body")


async def test_a_client_that_goes_while_its_answer_waits_does_not_disturb_the_pool() -> None:
    # More than the client takes, and no more than is read before anybody has to wait.
    size = 270_000

    async def big(peer: Peer) -> None:
        while True:
            await peer.head()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            await peer.flush()

    async with Rig(big, buffers=4096, max_connections=1) as rig, rig.client() as other:
        async with rig.client(buffers=4096) as client:
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            client.send(GET)
            await rig.backend_peer()
            # Served on the only connection there may be: the first request has given it back,
            # though its own answer still waits for the client.
            other.send(GET)
            assert len((await other.response()).body) == size
            assert (await rig.record()).reason is None
            client.reset()
            assert (await rig.record()).reason == "client_reset"
        other.send(GET)
        assert len((await other.response()).body) == size
        assert len(rig.backends) == 1
