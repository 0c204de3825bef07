"""Messages that are not whole share one bounded pool, and who fills it leaves it to the others."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.front.site import Client, settings, site


@pytest.mark.requirement("A4", "A6")
async def test_hellos_that_are_not_whole_share_a_bounded_pool() -> None:
    async with site(settings(partial_hello_limit_bytes=1000)) as running:
        loop = asyncio.get_running_loop()
        clients = [await running.connect() for _ in range(8)]
        for client in clients:
            await loop.sock_sendall(client, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(200))
        failures = "vestibule_handshake_failures_total"
        await running.until(lambda: running.count(failures, "hello", "none", "pool_full") >= 3)
        assert running.clients.pending_bytes <= 1000
        await running.serves()
        for client in clients:
            client.close()


@pytest.mark.requirement("A4", "A6")
async def test_whoever_fills_the_pool_leaves_it_to_the_others() -> None:
    async with site(settings(partial_hello_limit_bytes=20_000)) as running:
        loop = asyncio.get_running_loop()
        clients = running.clients
        with contextlib.ExitStack() as stack:
            honest = stack.enter_context(await running.connect())
            client = Client(honest)
            hello = client.hello()
            await loop.sock_sendall(honest, hello[:-1])
            await running.until(lambda: clients.pending_bytes == len(hello) - 1)
            for _ in range(3):
                hog = stack.enter_context(await running.connect())
                await loop.sock_sendall(hog, b"\x16\x03\x01\x3f\x00\x01\x00\xff\xfc" + bytes(8000))
            failures = "vestibule_handshake_failures_total"
            await running.until(lambda: running.count(failures, "hello", "none", "pool_full") >= 2)
            assert clients.pending_bytes <= 20_000
            await loop.sock_sendall(honest, hello[-1:])
            await loop.sock_sendall(honest, await client.reply())
            await running.take()


@pytest.mark.requirement("A4", "A6")
async def test_replies_that_are_not_whole_are_in_the_pool_too() -> None:
    async with site(settings(partial_hello_limit_bytes=20_000)) as running:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                connection = stack.enter_context(await running.connect())
                client = Client(connection)
                await loop.sock_sendall(connection, client.hello())
                await client.reply()
                await loop.sock_sendall(connection, b"\x17\x03\x03\x40\x00" + bytes(8000))
            failures = "vestibule_handshake_failures_total"
            await running.until(lambda: running.count(failures, "reply", "none", "pool_full") >= 3)
            assert running.clients.pending_bytes <= 20_000
            assert len(running.table) <= 1
        await running.serves()
