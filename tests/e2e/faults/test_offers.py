"""Connections on their way from a front to a worker when one of the two stops or dies.

An offer has one owner at any time. What a dead worker had not accepted is offered to another. What
a dead front had offered and no worker had accepted is closed: whether it had given the offer to
somebody else before it died cannot be known, and two writers on one key would repeat a nonce.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from tests.e2e.deployment import Vestibule, eventually, gone
from tests.e2e.faults.conftest import Run, come, offers_made, serving
from tests.e2e.faults.crowd import CLOSED, SERVED, fate
from tests.e2e.faults.steps import StepClient

COUNT = 8


@contextlib.contextmanager
def offered(proxy: Vestibule, count: int, *, earlier: int = 0) -> Iterator[list[StepClient]]:
    """So many clients whose connections fronts have offered, to workers that are stopped; there
    were `earlier` ones."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(come(proxy)) for _ in range(count)]
        for client in clients:
            client.until_offered()
        eventually(lambda: offers_made(proxy) == earlier + count)
        yield clients


def test_what_a_dead_worker_had_not_accepted_goes_to_another(run: Run) -> None:
    proxy = run(processes={"workers": 2})
    first, second = proxy.pids("worker")
    for pid in (first, second):
        os.kill(pid, signal.SIGSTOP)
    with offered(proxy, COUNT) as clients:
        os.kill(first, signal.SIGKILL)
        gone(first)
        os.kill(second, signal.SIGCONT)
        assert [fate(client.once_accepted) for client in clients] == [SERVED] * COUNT
    results = proxy.metrics().by("vestibule_handoffs_total", "result")
    assert results["accepted",] == COUNT
    assert 0 < results["offered_again",] < COUNT


def test_nobody_serves_what_a_dead_front_had_offered(run: Run) -> None:
    proxy = run(processes={"workers": 1})
    (front,), (worker,) = proxy.pids("front"), proxy.pids("worker")
    with come(proxy) as first:
        assert first.until_offered().once_accepted() == 200
    eventually(lambda: proxy.connections("worker") == 0)
    descriptors = proxy.metric("vestibule_process_open_fds", role="worker")
    os.kill(worker, signal.SIGSTOP)
    with offered(proxy, COUNT, earlier=1) as clients:
        os.kill(front, signal.SIGKILL)
        gone(front)
        os.kill(worker, signal.SIGCONT)
        assert [fate(client.once_accepted) for client in clients] == [CLOSED] * COUNT
        serving(proxy, "front", 1)
        # Nothing of them is left in the worker, and the successor's clients are served.
        assert proxy.connections("worker") == 0
        assert proxy.metric("vestibule_process_open_fds", role="worker") == descriptors
    with come(proxy) as later:
        assert later.until_offered().once_accepted() == 200
    assert proxy.metric("vestibule_requests_total") == 2


def test_what_was_accepted_is_served_though_the_front_died_unaware(run: Run) -> None:
    """It is stopped, so that the acceptances lie unread when it is killed."""
    proxy = run(processes={"workers": 1})
    (front,), (worker,) = proxy.pids("front"), proxy.pids("worker")
    os.kill(worker, signal.SIGSTOP)
    with offered(proxy, COUNT) as clients:
        os.kill(front, signal.SIGSTOP)
        os.kill(worker, signal.SIGCONT)
        assert [fate(client.once_accepted) for client in clients] == [SERVED] * COUNT
        os.kill(front, signal.SIGKILL)
        gone(front)
        serving(proxy, "front", 1)
        for client in clients:
            assert b"200 OK" in client.request()
        assert proxy.connections("worker") == COUNT
    assert proxy.metric("vestibule_requests_total") == 2 * COUNT
