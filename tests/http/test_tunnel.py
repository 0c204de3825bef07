"""Upgrades: a tunnel only where both sides want it, and what it does until its end."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from proxy.http import HttpSettings
from tests.http.rig import GET, Peer, Rig

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def test_bytes_pass_both_ways_with_what_came_early() -> None:
    async def switching(peer: Peer) -> None:
        head = await peer.head()
        assert head.endswith(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        peer.send(SWITCH + b"hello from behind")
        assert await peer.exactly(5) == b"early"
        assert await peer.exactly(4) == b"late"
        peer.send(b"bye")
        assert await peer.rest() == b""

    async with Rig(switching) as rig, rig.client() as client:
        client.send(UPGRADE + b"early")
        assert await client.head() == SWITCH
        assert await client.exactly(17) == b"hello from behind"
        client.send(b"late")
        assert await client.exactly(3) == b"bye"
        client.end()
        assert await client.rest() == b""
        record = await rig.record()
        assert (record.status, record.phase, record.close) == (101, "tunnel", "tunnel")
        assert record.request_bytes == len(UPGRADE) + 9
        assert record.response_bytes == len(SWITCH) + 20
        await rig.served()


@pytest.mark.parametrize("first", ["client", "backend"])
async def test_a_half_close_is_passed_on_and_the_other_direction_goes_on(first: str) -> None:
    async def switching(peer: Peer) -> None:
        await peer.head()
        peer.send(SWITCH)
        if first == "client":
            assert await peer.rest() == b"last words"
            peer.send(b"answer")
        else:
            peer.send(b"answer")
            peer.end()
            assert await peer.rest() == b"last words"

    async with Rig(switching) as rig, rig.client() as client:
        client.send(UPGRADE)
        await client.head()
        if first == "backend":
            assert await client.rest() == b"answer"
            client.send(b"last words")
            client.end()
        else:
            client.send(b"last words")
            client.end()
            assert await client.rest() == b"answer"
        assert (await rig.record()).reason is None
        await rig.served()


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_a_reset_on_one_side_is_one_on_the_other(who: str) -> None:
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def switching(peer: Peer) -> None:
        await peer.head()
        peer.send(SWITCH)
        if who == "backend":
            await peer.exactly(1)
            peer.reset()
            return
        try:
            await peer.rest()
        except ConnectionResetError:
            seen.set_result("reset")

    async with Rig(switching) as rig, rig.client() as client:
        client.send(UPGRADE)
        await client.head()
        if who == "client":
            client.reset()
            assert await asyncio.wait_for(seen, 10) == "reset"
        else:
            client.send(b"x")
            with pytest.raises(ConnectionResetError):
                await client.rest()
        assert (await rig.record()).reason == f"tunnel_{who}_reset"


async def test_silence_in_both_directions_ends_the_tunnel_and_talk_in_one_does_not() -> None:
    async def switching(peer: Peer) -> None:
        await peer.head()
        peer.send(SWITCH)
        for _ in range(6):
            await asyncio.wait_for(peer.reader.read(1), 10)
        await peer.rest()

    settings = HttpSettings(tunnel_idle_timeout_s=0.2)
    async with Rig(switching, settings=settings) as rig, rig.client() as client:
        client.send(UPGRADE)
        await client.head()
        loop = asyncio.get_running_loop()
        started = loop.time()
        for step in range(1, 7):
            tick = asyncio.Event()
            loop.call_at(started + step * 0.1, tick.set)
            await tick.wait()
            client.send(b"x")
        with pytest.raises(ConnectionResetError):
            await client.rest()
        record = await rig.record()
        assert record.reason == "tunnel_idle"
        assert record.duration_s > 0.7


async def test_a_backend_that_does_not_switch_answers_normally() -> None:
    async with Rig() as rig, rig.client() as client:
        client.send(UPGRADE + GET)
        assert (await client.response()).status == 200
        assert (await client.response()).status == 200


@pytest.mark.parametrize(
    "request_",
    [
        UPGRADE.replace(b"websocket", b"h2c"),
        UPGRADE.replace(b"Connection: keep-alive, Upgrade\r\n", b""),
        UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n") + b"x",
        UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_an_upgrade_that_is_not_allowed_is_not_offered_and_not_accepted(
    request_: bytes,
) -> None:
    async def switching(peer: Peer) -> None:
        assert b"pgrade" not in await peer.head()
        peer.send(SWITCH)
        await peer.rest()

    async with Rig(switching) as rig, rig.client() as client:
        client.send(request_)
        assert (await client.response()).status == 502
        assert (await rig.record()).reason == "backend_unasked_upgrade"


async def test_another_protocol_than_was_asked_for_is_a_502() -> None:
    async def switching(peer: Peer) -> None:
        await peer.head()
        peer.send(SWITCH.replace(b"websocket", b"other"))
        await peer.rest()

    async with Rig(switching) as rig, rig.client() as client:
        client.send(UPGRADE)
        assert (await client.response()).status == 502


async def test_a_websocket_echoes_through_the_proxy() -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Rig(servers=(f"http://127.0.0.1:{port}",)) as rig:
            async with connect(f"ws://127.0.0.1:{rig.port}/chat", proxy=None) as socket:
                for message in ("hello", b"\0" * 200_000):
                    await socket.send(message)
                    assert await socket.recv() == message
            record = await rig.record()
            assert (record.status, record.reason) == (101, None)
