"""WebSockets through an Upgrade tunnel: a real server behind, a real client in front."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from tests.e2e.conftest import Authority
from tests.e2e.deployment import LIMIT_S, Vestibule, configuration, eventually

pytestmark = pytest.mark.requirement("A42")

LARGE = 8 << 20


class EchoServer:
    """Echoes messages over wss until the client closes; says how each connection ended."""

    def __init__(self) -> None:
        self.port = 0
        self.closed: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self.requests: list[dict[str, str]] = []

    async def handle(self, connection: ServerConnection) -> None:
        """One connection. The message `goodbye` has the server close first."""
        assert connection.request is not None
        self.requests.append(
            {name.lower(): value for name, value in connection.request.headers.items()}
        )
        try:
            async for message in connection:
                if message == "goodbye":
                    await connection.close(4001, "as you wish")
                await connection.send(message)
        except (ConnectionClosedOK, ConnectionClosedError):
            pass
        await connection.wait_closed()
        await self.closed.put((connection.close_code or 0, connection.close_reason or ""))


@pytest.fixture
async def echo(tmp_path: Path, authority: Authority) -> AsyncIterator[EchoServer]:
    """A running echo server."""
    files = authority.issue(["localhost"]).write(tmp_path, "echo")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    server = EchoServer()
    async with serve(
        server.handle, "127.0.0.1", 0, ssl=context, max_size=None, compression=None
    ) as running:
        server.port = next(iter(running.sockets)).getsockname()[1]
        yield server


@pytest.fixture
async def proxied(
    tmp_path: Path, authority: Authority, echo: EchoServer
) -> AsyncIterator[Vestibule]:
    """A proxy in front of the echo server."""
    content = configuration(authority.files(), f"https://127.0.0.1:{echo.port}", authority.file)
    vestibule = Vestibule(tmp_path, content)
    await asyncio.to_thread(vestibule.__enter__)
    try:
        yield vestibule
    finally:
        await asyncio.to_thread(vestibule.__exit__, None, None, None)


@contextlib.asynccontextmanager
async def client(vestibule: Vestibule, authority: Authority) -> AsyncIterator[ClientConnection]:
    """A client that trusts the authority and speaks through the proxy."""
    async with asyncio.timeout(LIMIT_S):
        async with connect(
            f"wss://localhost:{vestibule.port}/socket?a=b",
            ssl=authority.trusting(),
            max_size=None,
            compression=None,
            proxy=None,
        ) as connection:
            yield connection


async def test_messages_of_every_size_are_echoed(
    proxied: Vestibule, authority: Authority, echo: EchoServer
) -> None:
    async with client(proxied, authority) as connection:
        for message in ("", "words", b"\0" * 125, os.urandom(126), os.urandom(65536)):
            await connection.send(message)
            assert await connection.recv() == message
        large = os.urandom(LARGE)
        await connection.send([large[: LARGE // 2], large[LARGE // 2 :]])  # two fragments
        assert await connection.recv() == large
        await (await connection.ping())
    assert (connection.close_code, connection.close_reason) == (1000, "")
    assert await echo.closed.get() == (1000, "")
    assert echo.requests[0]["x-forwarded-proto"] == "https"


async def test_messages_cross(proxied: Vestibule, authority: Authority) -> None:
    """Both directions at once: neither may wait for the other."""
    count, size = 200, 64 * 1024
    message = os.urandom(size)
    async with client(proxied, authority) as connection:

        async def send() -> None:
            for _ in range(count):
                await connection.send(message)

        sending = asyncio.create_task(send())
        for _ in range(count):
            assert await connection.recv() == message
        await sending


async def test_the_server_closes_first(
    proxied: Vestibule, authority: Authority, echo: EchoServer
) -> None:
    async with client(proxied, authority) as connection:
        await connection.send("goodbye")
        with pytest.raises(ConnectionClosedError):
            await connection.recv()
        assert (connection.close_code, connection.close_reason) == (4001, "as you wish")
    assert await echo.closed.get() == (4001, "as you wish")


async def test_a_client_that_vanishes_is_noticed_behind(
    proxied: Vestibule, authority: Authority, echo: EchoServer
) -> None:
    async with client(proxied, authority) as connection:
        await connection.send("words")
        assert await connection.recv() == "words"
        connection.transport.abort()
        async with asyncio.timeout(LIMIT_S):
            assert await echo.closed.get() == (1006, "")
    await asyncio.to_thread(eventually, lambda: proxied.connections("worker") == 0)


async def test_a_tunnel_that_is_open_does_not_hold_up_a_drain(
    proxied: Vestibule, authority: Authority
) -> None:
    """It has until the drain deadline; a second signal ends the wait."""
    async with client(proxied, authority) as connection:
        await connection.send("words")
        assert await connection.recv() == "words"
        await asyncio.to_thread(proxied.stop)
        with pytest.raises(ConnectionClosedError):
            await connection.recv()
