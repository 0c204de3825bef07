"""Processes killed under load: who was not theirs sees nothing, and newcomers are served."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.clients import Client
from tests.e2e.conftest import PAGE, Authority, Backend
from tests.e2e.deployment import Vestibule, eventually, gone
from tests.e2e.load import ENDED_BETWEEN, Load

CLIENTS = 40


@pytest.fixture
async def proxy(tmp_path: Path, authority: Authority, backend: Backend) -> AsyncIterator[Vestibule]:
    """A proxy of two workers, whatever the machine has."""
    content = backend.settings(authority, authority.files(), processes={"workers": 2})
    vestibule = Vestibule(tmp_path, content)
    await asyncio.to_thread(vestibule.__enter__)
    try:
        yield vestibule
    finally:
        await asyncio.to_thread(vestibule.__exit__, None, None, None)


async def killed(proxy: Vestibule, pid: int) -> None:
    """SIGKILL, and wait until it has done its work."""
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(gone, pid)


async def replaced(proxy: Vestibule, role: str, pid: int) -> None:
    """Wait until another process serves in its place."""

    def serves() -> bool:
        processes = proxy.processes(role)
        return all(one["state"] == "serving" and one["pid"] != pid for one in processes)

    await asyncio.to_thread(eventually, serves)


async def test_a_worker_killed_under_load(proxy: Vestibule, authority: Authority) -> None:
    async with Load(proxy.port, authority.trusting(), CLIENTS) as load:
        await load.progress()
        await load.pause_newcomers()
        await asyncio.to_thread(eventually, lambda: proxy.connections("worker") == CLIENTS)
        victim, other = await asyncio.to_thread(proxy.processes, "worker")
        assert victim["connections"] > 0
        assert other["connections"] > 0
        await killed(proxy, victim["pid"])
        load.resume_newcomers()
        await load.progress()
        await replaced(proxy, "worker", victim["pid"])
        await load.progress()
        assert len(load.lost) == victim["connections"]
        assert load.refused == []
        survivors = [one["pid"] for one in await asyncio.to_thread(proxy.processes, "worker")]
        assert other["pid"] in survivors
    restarts = "vestibule_process_restarts_total"
    assert await asyncio.to_thread(proxy.metric, restarts, role="worker") == 1
    assert await asyncio.to_thread(proxy.metric, restarts, role="front") == 0


async def test_what_a_worker_has_not_accepted_goes_to_another(
    proxy: Vestibule, authority: Authority
) -> None:
    """It is stopped, so offers to it stay unanswered, and then killed."""
    pid = (await asyncio.to_thread(proxy.pids, "worker"))[0]
    context = authority.trusting()
    clients = [Client(proxy.port, context) for _ in range(CLIENTS)]
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.gather(*(client.connect() for client in clients))
        asked = asyncio.gather(*(client.get() for client in clients))
        finished = "vestibule_handshakes_total"
        await asyncio.to_thread(eventually, lambda: proxy.metric(finished) == CLIENTS)
        await killed(proxy, pid)
        assert await asked == [(200, PAGE.encode())] * CLIENTS
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    offers = await asyncio.to_thread(proxy.metrics)
    assert offers.value("vestibule_handoffs_total", result="offered_again") > 0
    assert offers.value("vestibule_handoffs_total", result="accepted") == CLIENTS


async def test_a_front_killed_under_load(proxy: Vestibule, authority: Authority) -> None:
    """Its listening socket is the supervisor's: who comes meanwhile waits for its successor."""
    async with Load(proxy.port, authority.trusting(), CLIENTS) as load:
        await load.progress()
        await load.pause_newcomers()
        (pid,) = await asyncio.to_thread(proxy.pids, "front")
        await killed(proxy, pid)
        load.resume_newcomers()
        await load.progress()
        await replaced(proxy, "front", pid)
        await load.progress()
        assert load.lost == []
        assert load.refused == []
    restarts = "vestibule_process_restarts_total"
    assert await asyncio.to_thread(proxy.metric, restarts, role="front") == 1


async def test_the_supervisor_killed_under_load(proxy: Vestibule, authority: Authority) -> None:
    """Nobody restarts it here: what is left finishes the requests it has, and goes."""
    pids = await asyncio.to_thread(proxy.all_pids)
    async with Load(proxy.port, authority.trusting(), CLIENTS) as load:
        await load.progress()
        proxy.expected_status = -signal.SIGKILL
        proxy.signal(signal.SIGKILL)
        await asyncio.gather(*(asyncio.to_thread(gone, pid) for pid in pids))
        await load.over()
    # Either no byte of an answer, or all of them.
    torn = [one.error for one in load.members if not ENDED_BETWEEN.search(one.error or "")]
    assert torn == []
