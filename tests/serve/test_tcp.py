"""A tcp route connects at once, relays, and closes both sides whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from proxy.serve import serve_tcp
from proxy.upstream import Backend, BackendSettings, ServerAddress
from tests.edge.legs import stream_pair

PATIENCE_S = 20.0


def _backend(port: int) -> Backend:
    server = ServerAddress(scheme="http", host="127.0.0.1", port=port)
    return Backend(BackendSettings(name="tcp", servers=(server,)))


async def test_a_backend_that_speaks_first_is_heard() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        assert await reader.readline() == b"QUIT\r\n"
        writer.write(b"221 bye\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1")
    async with server:
        backend = _backend(server.sockets[0].getsockname()[1])
        with stream_pair("tls") as (client, ours):
            serving = asyncio.create_task(serve_tcp(ours, backend, PATIENCE_S))
            assert await client.read(PATIENCE_S) == b"220 ready\r\n"
            await client.write(b"QUIT\r\n")
            assert await client.read(PATIENCE_S) == b"221 bye\r\n"
            assert await client.read(PATIENCE_S) == b""
            await client.close_write()
            assert await serving == "ok"
            assert ours.closed
        backend.close()


async def test_a_backend_that_is_down_closes_the_client_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    backend = _backend(port)
    with stream_pair("tls") as (_, ours):
        assert await serve_tcp(ours, backend, PATIENCE_S) == "refused"
        assert ours.closed
    backend.close()


async def test_a_connection_that_carried_an_exchange_is_not_a_new_clients() -> None:
    numbers = iter(range(2))

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % next(numbers))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1")
    async with server:
        backend = _backend(server.sockets[0].getsockname()[1])
        lease = await backend.acquire()
        assert await lease.stream.read(PATIENCE_S) == b"0"
        lease.release()
        with stream_pair("tls") as (client, ours):
            serving = asyncio.create_task(serve_tcp(ours, backend, PATIENCE_S))
            assert await client.read(PATIENCE_S) == b"1"
            await client.close_write()
            assert await serving == "ok"
        backend.close()


async def test_a_client_that_resets_frees_the_backends_connection() -> None:
    ended = asyncio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(watch, "127.0.0.1")
    async with server:
        backend = _backend(server.sockets[0].getsockname()[1])
        with stream_pair() as (client, ours):
            serving = asyncio.create_task(serve_tcp(ours, backend, PATIENCE_S))
            await client.write(b"x")
            client.abort()
            assert (await serving).startswith("client_")
            await asyncio.wait_for(ended.wait(), PATIENCE_S)
        backend.close()
