"""Reloads in the midst of traffic, and listening sockets that a reload takes away."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import signal
from collections import Counter
from collections.abc import Sequence
from functools import partial

import pytest

from tests.e2e.conftest import Authority
from tests.e2e.deployment import Vestibule, eventually
from tests.e2e.faults.conftest import Run, come
from tests.e2e.faults.crowd import SERVED, fate
from tests.e2e.faults.steps import StepClient
from tests.e2e.load import Load
from tests.peers import free_port

RELOADS = 20
CLIENTS = 20

QUEUED = 400
"""Clients in the queues of two fronts: in each more than it accepts in one turn of its loop, so
that some are left when it is told to close the socket."""


def reloaded(proxy: Vestibule, times: int) -> None:
    """Wait until so many reloads have succeeded."""
    eventually(lambda: len(proxy.events("reload_succeeded")) == times)


def fates(clients: Sequence[StepClient]) -> Counter[str]:
    """How those fare who have said hello."""

    def rest(client: StepClient) -> int:
        return client.answer().flight().reply().status()

    return Counter(fate(partial(rest, client)) for client in clients)


@pytest.mark.scale
async def test_twenty_under_load(run: Run, authority: Authority) -> None:
    proxy = await asyncio.to_thread(run)
    pids = await asyncio.to_thread(proxy.all_pids)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(come(proxy)) for _ in range(CLIENTS)]
        answered = [stack.enter_context(come(proxy)) for _ in range(CLIENTS)]
        for one in answered:
            await asyncio.to_thread(one.hello)
        async with Load(proxy.port, authority.trusting(), CLIENTS) as load:
            await load.progress()
            for number in range(RELOADS):
                proxy.signal(signal.SIGHUP)
                await asyncio.to_thread(reloaded, proxy, number + 1)
            await load.progress()
            assert load.lost + load.refused == []
        assert await asyncio.to_thread(fates, answered) == {SERVED: CLIENTS}
        assert await asyncio.to_thread(fates, [one.hello() for one in silent]) == {SERVED: CLIENTS}
    status = await asyncio.to_thread(proxy.status)
    assert {one["generation"] for one in status["processes"]} == {RELOADS + 1}
    assert await asyncio.to_thread(proxy.all_pids) == pids


@pytest.mark.scale
def test_the_queue_of_an_address_that_is_removed_is_served(run: Run) -> None:
    port = free_port()
    bind = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{port}"]
    proxy = run(processes={"fronts": 2, "workers": 1}, bind=bind)
    first, second = proxy.pids("front")
    fds, of_first = "vestibule_process_open_fds", {"role": "front", "slot": "0"}
    before = proxy.metric(fds, **of_first)
    os.kill(second, signal.SIGSTOP)
    content = copy.deepcopy(proxy.content)
    content["listeners"][0]["bind"].pop()
    proxy.write(content)
    proxy.signal(signal.SIGHUP)
    # The first front has prepared, the second lets it wait for the decision.
    eventually(lambda: proxy.metric(fds, **of_first) > before)
    os.kill(first, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(StepClient(port)).hello() for _ in range(QUEUED)]
        os.kill(second, signal.SIGCONT)
        eventually(lambda: proxy.processes("front")[1]["generation"] == 2)
        os.kill(first, signal.SIGCONT)
        found = fates(clients)
    assert found == {SERVED: QUEUED}
    reloaded(proxy, 1)


@pytest.mark.scale
def test_the_queue_of_a_front_that_is_retired_is_served(run: Run) -> None:
    proxy = run(processes={"fronts": 2, "workers": 1})
    _, second = proxy.pids("front")
    os.kill(second, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(come(proxy)).hello() for _ in range(QUEUED)]
        proxy.write({**proxy.content, "processes": {"fronts": 1, "workers": 1}})
        proxy.signal(signal.SIGHUP)
        reloaded(proxy, 1)
        accepted = "vestibule_connections_total"
        assert proxy.metric(accepted) < QUEUED
        os.kill(second, signal.SIGCONT)
        found = fates(clients)
        assert found == {SERVED: QUEUED}
        eventually(lambda: proxy.metric(accepted) == QUEUED)
    eventually(lambda: proxy.events("process_left"))
    (left,) = proxy.events("process_left")
    assert (left["child"], left["status"]) == ("front 1", 0)
