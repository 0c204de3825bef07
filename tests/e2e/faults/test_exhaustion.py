"""A process without a descriptor left: it goes on with those it has, and recovers by itself."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections import Counter

import pytest

from tests.e2e.conftest import Authority
from tests.e2e.deployment import LIMIT_S, Vestibule, eventually
from tests.e2e.faults.conftest import Run, come
from tests.e2e.faults.crowd import CLOSED, SERVED, fate
from tests.e2e.faults.steps import KeepAlive, StepClient
from tests.e2e.honest import HonestClients

WINDOW = 128
"""Connections that a worker lets a front offer before it has answered."""


def starve(proxy: Vestibule, role: str, *, left: int) -> None:
    """Let the one process of a role have only so many descriptors beyond those it has now."""
    (pid,) = proxy.pids(role)
    limit = int(proxy.metric("vestibule_process_open_fds", role=role)) + left
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))


def test_a_front(run: Run, authority: Authority) -> None:
    proxy = run(timeouts={"hello_s": 1.0})
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(KeepAlive(proxy.port, authority.trusting()))
        kept.ask()
        starve(proxy, "front", left=20)
        for _ in range(60):
            silent = socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_S)
            stack.enter_context(silent)
        errors = "vestibule_accept_errors_total"
        eventually(lambda: proxy.metric(errors, reason="emfile") > 0)
        kept.ask()  # workers have descriptors of their own
        # Behind all the others, who are sent away when their time is up: nobody else has to leave.
        with come(proxy) as behind:
            assert fate(lambda: behind.greet().reply().status()) == SERVED
    with HonestClients(proxy.port, authority) as honest:
        eventually(lambda: len(honest.seconds) >= 5)
    assert honest.errors == []
    assert proxy.metric("vestibule_reaped_total", store="hellos") == 60
    assert proxy.metric("vestibule_process_restarts_total") == 0


@pytest.mark.scale
def test_a_worker(run: Run, authority: Authority) -> None:
    """It gives no credit that no descriptor is behind; what it has taken, it answers."""
    # Credit that was held back comes again within a second.
    proxy = run(processes={"workers": 1}, timeouts={"handoff_s": 1.5})
    context = authority.trusting()
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(KeepAlive(proxy.port, context)) for _ in range(5)]
        for client in kept:
            client.ask()
        starve(proxy, "worker", left=2)
        clients = [stack.enter_context(come(proxy)) for _ in range(WINDOW + 50)]
        for one in clients:
            one.until_offered()
        found = Counter(map(outcome, clients))
        # Credit from before was used up, and the rest has waited in vain.
        assert found[CLOSED] > 0
        assert found[200] > 0
        # 502, 503: none left toward the backend, which is not blamed for that.
        assert set(found) <= {CLOSED, 200, 502, 503}
        assert [fate(client.ask) for client in kept] == [SERVED] * len(kept)
    assert proxy.metric("vestibule_handoffs_total", result="expired") == found[CLOSED]
    assert proxy.metric("vestibule_backend_up") == 1
    eventually(lambda: proxy.connections("worker") == 0)
    with HonestClients(proxy.port, authority) as honest:
        eventually(lambda: len(honest.seconds) >= 5)
    assert honest.errors == []
    assert proxy.metric("vestibule_process_restarts_total") == 0
    assert proxy.events("control_channel_failed") == []


def outcome(client: StepClient) -> object:
    """The status that a client gets, or that its connection was closed."""
    try:
        return client.once_accepted()
    except TimeoutError:
        raise
    except OSError:
        return CLOSED
