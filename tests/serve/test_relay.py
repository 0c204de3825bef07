"""Bytes both ways, half-closes one by one, and a bound on silence."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from proxy.edge import Stream
from proxy.serve import Relay, RelayBroken
from tests.edge.legs import stream_pair

PATIENCE_S = 20.0


async def _sent(stream: Stream, data: bytes) -> None:
    await stream.write(data)
    await stream.close_write()


async def _digest(stream: Stream) -> str:
    found = hashlib.sha256()
    while data := await stream.read(PATIENCE_S):
        found.update(data)
    return found.hexdigest()


@pytest.mark.parametrize("kind", ["plain", "tls"])
async def test_megabytes_both_ways_at_once(kind: str) -> None:
    up, down = os.urandom(3_000_000), os.urandom(2_000_000)
    with stream_pair(kind) as (client, ours), stream_pair() as (theirs, backend):
        relay = Relay(ours, theirs, PATIENCE_S)
        results = await asyncio.gather(
            relay.run(), _sent(client, up), _sent(backend, down), _digest(backend), _digest(client)
        )
    assert results[3] == hashlib.sha256(up).hexdigest()
    assert results[4] == hashlib.sha256(down).hexdigest()
    assert (relay.up, relay.down) == (len(up), len(down))


@pytest.mark.parametrize("kind", ["plain", "tls"])
async def test_one_side_may_be_done_while_the_other_goes_on(kind: str) -> None:
    with stream_pair(kind) as (client, ours), stream_pair() as (theirs, backend):
        running = asyncio.create_task(Relay(ours, theirs, PATIENCE_S).run())
        await _sent(client, b"question")
        assert await backend.read(PATIENCE_S) == b"question"
        assert await backend.read(PATIENCE_S) == b""
        await _sent(backend, b"answer")
        assert await client.read(PATIENCE_S) == b"answer"
        assert await client.read(PATIENCE_S) == b""
        await running


async def test_a_broken_leg_names_itself() -> None:
    with stream_pair() as (client, ours), stream_pair() as (theirs, backend):
        running = asyncio.create_task(Relay(ours, theirs, PATIENCE_S).run())
        await client.write(b"x")
        assert await backend.read(PATIENCE_S) == b"x"
        backend.abort()
        with pytest.raises(RelayBroken, match="backend_"):
            await running


async def test_silence_on_both_sides_ends_it_and_on_one_side_does_not() -> None:
    with stream_pair() as (client, ours), stream_pair() as (theirs, backend):
        loop = asyncio.get_running_loop()
        began = loop.time()
        running = asyncio.create_task(Relay(ours, theirs, 0.4).run())
        # The backend alone speaks, for longer than the bound on silence.
        for _ in range(8):
            await backend.write(b"tick")
            assert await client.read(PATIENCE_S) == b"tick"
            await asyncio.wait({running}, timeout=0.1)
        assert not running.done()
        with pytest.raises(RelayBroken, match="idle"):
            await running
        assert loop.time() - began >= 1.1
