"""A process that is stopped, as one in an endless loop: nobody waits for it for ever.

Who is in its hands waits until the supervisor has killed it, then goes on with another; what it
was never given goes to another at once, or waits within a bound where there is no other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter

import pytest

from tests.e2e.conftest import Authority
from tests.e2e.deployment import LIMIT_S, eventually
from tests.e2e.faults.conftest import Run, come, offers_made, serving
from tests.e2e.faults.crowd import CLOSED, SERVED, fate
from tests.e2e.faults.steps import KeepAlive
from tests.e2e.honest import HonestClients

COUNT = 20
STUCK_S = 1.5
WINDOW = 128
"""Connections that a worker lets a front offer before it has answered."""


def test_a_stopped_worker(run: Run, authority: Authority) -> None:
    proxy = run(processes={"workers": 2}, timeouts={"stuck_s": STUCK_S})
    first, second = proxy.pids("worker")
    with contextlib.ExitStack() as stack:
        kept = [
            stack.enter_context(KeepAlive(proxy.port, authority.trusting())) for _ in range(COUNT)
        ]
        for one in kept:
            one.ask()
        os.kill(first, signal.SIGSTOP)
        stopped_s = time.monotonic()
        clients = [stack.enter_context(come(proxy)) for _ in range(COUNT)]
        with HonestClients(proxy.port, authority) as honest:
            for client in clients:
                client.until_offered()
            assert [fate(client.once_accepted) for client in clients] == [SERVED] * COUNT
            # Some waited for the other worker, and none for longer than it took to kill it.
            waited_s = time.monotonic() - stopped_s
            serving(proxy, "worker", 2)
        assert honest.errors == []
        found = Counter(fate(one.ask) for one in kept)
    assert STUCK_S <= waited_s < LIMIT_S
    (stuck,) = proxy.events("process_stuck")
    assert (stuck["child"], stuck["pid"]) == ("worker 0", first)
    scrape = proxy.metrics()
    assert scrape.value("vestibule_handoffs_total", result="offered_again") > 0
    assert scrape.value("vestibule_process_kills_total", role="worker", reason="stuck") == 1
    assert scrape.value("vestibule_process_restarts_total") == 1
    assert second in proxy.pids("worker")
    # The established clients of the one that was killed, and nobody else's.
    assert found == {SERVED: COUNT // 2, CLOSED: COUNT // 2}


@pytest.mark.scale
def test_a_stopped_front(run: Run, authority: Authority) -> None:
    proxy = run(timeouts={"stuck_s": STUCK_S})
    (front,) = proxy.pids("front")
    with (
        KeepAlive(proxy.port, authority.trusting()) as kept,
        come(proxy) as half_open,
    ):
        kept.ask()
        half_open.hello().answer()
        os.kill(front, signal.SIGSTOP)
        with come(proxy) as queued:
            queued.hello()
            kept.ask()  # its worker has nothing to do with the front any more
            assert fate(lambda: half_open.flight().reply().status()) == CLOSED
            # Its successor has the same queue.
            assert fate(lambda: queued.answer().flight().reply().status()) == SERVED
        kept.ask()
    (stuck,) = proxy.events("process_stuck")
    assert (stuck["child"], stuck["pid"]) == ("front 0", front)
    assert proxy.metric("vestibule_process_kills_total", role="front", reason="stuck") == 1


def test_a_full_channel(run: Run) -> None:
    """The only worker is stopped, and its credit used up."""
    proxy = run(processes={"workers": 1}, timeouts={"handoff_s": 0.3})
    (worker,) = proxy.pids("worker")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(come(proxy)) for _ in range(WINDOW + COUNT)]
        os.kill(worker, signal.SIGSTOP)
        for client in clients:
            client.until_offered()
        results = "vestibule_handoffs_total"
        eventually(lambda: proxy.metric(results, result="expired") == COUNT)
        assert offers_made(proxy) == WINDOW + COUNT
        os.kill(worker, signal.SIGCONT)
        found = Counter(fate(client.once_accepted) for client in clients)
        assert found == {SERVED: WINDOW, CLOSED: COUNT}
        with come(proxy) as later:
            assert later.until_offered().once_accepted() == 200
    assert proxy.metric("vestibule_handoffs_waiting") == 0
    assert proxy.metric("vestibule_process_restarts_total") == 0
