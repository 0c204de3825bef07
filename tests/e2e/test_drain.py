"""SIGTERM: what has begun is finished, nothing new begins, and the exit status says that all went
well.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.clients import Client, ClientError
from tests.e2e.conftest import Authority
from tests.e2e.deployment import LIMIT_S, Vestibule, configuration, eventually
from tests.e2e.raw import REQUEST, RawClient
from tests.e2e.slow_backend import SlowBackend


@pytest.fixture
async def slow(tmp_path: Path, authority: Authority) -> AsyncIterator[SlowBackend]:
    """A backend that waits in the middle of an answer."""
    async with SlowBackend.running(tmp_path, authority) as backend:
        yield backend


@pytest.fixture
async def proxy(
    tmp_path: Path, authority: Authority, slow: SlowBackend
) -> AsyncIterator[Vestibule]:
    """A proxy in front of it."""
    url = f"https://127.0.0.1:{slow.port}"
    vestibule = Vestibule(tmp_path, configuration(authority.files(), url, authority.file))
    await asyncio.to_thread(vestibule.__enter__)
    try:
        yield vestibule
    finally:
        await asyncio.to_thread(vestibule.__exit__, None, None, None)


async def until_begun(slow: SlowBackend, client: Client) -> None:
    """Wait until the client's request is half answered."""
    await client.send(REQUEST)
    async with asyncio.timeout(LIMIT_S):
        await slow.begun.acquire()


async def draining(proxy: Vestibule) -> None:
    """SIGTERM, and wait until nobody new is let in."""
    proxy.signal(signal.SIGTERM)

    def heard() -> bool:
        return bool(proxy.events("draining"))

    await asyncio.to_thread(eventually, heard)


async def test_an_answer_that_has_begun_is_completed(
    proxy: Vestibule, authority: Authority, slow: SlowBackend
) -> None:
    context = authority.trusting()
    async with Client(proxy.port, context) as busy, Client(proxy.port, context) as idle:
        await until_begun(slow, busy)
        with RawClient(proxy.port) as replying:
            await asyncio.to_thread(replying.greet)
            await draining(proxy)
            # A client that has its answer already may still reply and be served.
            replying.send(replying.tls.finish() + replying.tls.send(REQUEST))
            async with asyncio.timeout(LIMIT_S):
                await slow.begun.acquire()
            assert await idle.end() == b""
            status = await asyncio.to_thread(proxy.status)
            assert (status["phase"], len(status["listeners"])) == ("draining", 1)
            with pytest.raises(ClientError):
                await Client(proxy.port, context).connect()
            assert proxy.process.poll() is None
            slow.go.set()
            assert await busy.answer() == (200, b"".join(slow.HALVES))
            assert await busy.end() == b""
            answer = b""
            while not answer.endswith(slow.HALVES[1]):
                answer += replying.tls.text(await asyncio.to_thread(replying.record))
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"\r\n\r\n" + b"".join(slow.HALVES))
    assert await asyncio.to_thread(proxy.ended) == 0


async def test_a_second_signal_does_not_wait(
    proxy: Vestibule, authority: Authority, slow: SlowBackend
) -> None:
    async with Client(proxy.port, authority.trusting()) as busy:
        await until_begun(slow, busy)
        await draining(proxy)
        proxy.signal(signal.SIGTERM)
        assert await asyncio.to_thread(proxy.ended) == 0
        with pytest.raises(ClientError):
            await busy.answer()


async def test_the_deadline_ends_what_does_not_end_itself(
    proxy: Vestibule, authority: Authority, slow: SlowBackend
) -> None:
    proxy.write({**proxy.content, "timeouts": {"drain_s": 0.5}})
    proxy.signal(signal.SIGHUP)
    await asyncio.to_thread(eventually, lambda: proxy.events("reload_succeeded"))
    async with Client(proxy.port, authority.trusting()) as busy:
        await until_begun(slow, busy)
        await draining(proxy)
        with pytest.raises(ClientError):
            await busy.answer()
    assert await asyncio.to_thread(proxy.ended) == 0
    assert proxy.events("connections_cut")
