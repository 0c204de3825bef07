"""`answer: retry`: what workers do for clients whose front has no key."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.wire import AlertDescription, ContentType
from tests.e2e.conftest import Authority, Backend
from tests.e2e.deployment import Vestibule, eventually
from tests.e2e.faults.steps import StepClient

HALF_OPEN = "vestibule_handshakes_half_open"
FAILURES = "vestibule_handshake_failures_total"


@pytest.fixture
def proxy(tmp_path: Path, authority: Authority, backend: Backend) -> Iterator[Vestibule]:
    """A proxy of two workers that has never dialled its backend."""
    content = backend.settings(authority, authority.files(), processes={"workers": 2})
    content["listeners"][0]["answer"] = "retry"
    with Vestibule(tmp_path, content) as vestibule:
        yield vestibule


@pytest.mark.requirement("A32", "A33", "A35", "A43")
def test_no_backend_connection_before_finished(proxy: Vestibule, backend: Backend) -> None:
    """Nor is a client more than an entry of a worker's table until then."""
    accepted = backend.accepted()
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(StepClient(proxy.port)).greet() for _ in range(8)]
        assert all(client.retried for client in clients)
        eventually(lambda: proxy.metric(HALF_OPEN) == len(clients))
        workers = proxy.processes("worker")
        assert sum(one["half_open"] for one in workers) == len(clients)
        assert all(one["half_open"] for one in workers)  # both sign
        assert proxy.metric("vestibule_handshakes_total") == 0
        assert backend.accepted() == accepted

        wrong, gone, *rest = clients
        message = bytearray(wrong.tls.finished())
        message[-1] ^= 1
        wrong.send(wrong.tls.handshake.seal(ContentType.HANDSHAKE, bytes(message)))
        assert wrong.alert() == AlertDescription.DECRYPT_ERROR
        gone.close()
        eventually(lambda: proxy.metric(HALF_OPEN) == len(rest))
        assert proxy.metric(FAILURES, stage="reply", alert="decrypt_error") == 1
        assert proxy.metric(FAILURES, stage="reply", reason="peer_closed") == 1
        assert backend.accepted() == accepted

        for client in rest:
            assert client.reply().status() == 200
        assert proxy.metric("vestibule_handshakes_total") == len(rest)
        assert proxy.metric(HALF_OPEN) == 0
        assert backend.accepted() > accepted


def test_the_silent_are_reaped_by_the_worker(
    tmp_path: Path, authority: Authority, backend: Backend
) -> None:
    content = backend.settings(authority, authority.files(), timeouts={"reply_s": 0.5})
    content["listeners"][0]["answer"] = "retry"
    with Vestibule(tmp_path, content) as proxy, StepClient(proxy.port) as client:
        assert client.greet().is_closed()
        assert proxy.metric("vestibule_reaped_total", store="replies") == 1
        assert proxy.connections("worker") == 0


def test_who_has_the_flight_is_served_while_draining(proxy: Vestibule) -> None:
    with StepClient(proxy.port) as client:
        client.greet()
        proxy.signal(signal.SIGTERM)
        # The other worker has been told at the same time, and has nobody to wait for.
        eventually(lambda: len(proxy.events("process_left")) == 2)
        assert client.reply().status() == 200
    assert proxy.ended() == 0
    assert not proxy.events("connections_cut")


def test_draining_ends_with_the_last_client(proxy: Vestibule) -> None:
    """It does not wait for the deadline, nor for the handshake's time."""
    with StepClient(proxy.port) as client:
        client.greet()
        proxy.signal(signal.SIGTERM)
        eventually(lambda: proxy.events("draining"))
    assert proxy.ended() == 0
    assert not proxy.events("connections_cut")


def test_a_reload_keeps_who_is_on_the_way(proxy: Vestibule) -> None:
    with contextlib.ExitStack() as ends:
        retried = ends.enter_context(StepClient(proxy.port)).hello().answer()
        half_open = ends.enter_context(StepClient(proxy.port)).greet()
        proxy.signal(signal.SIGHUP)
        eventually(lambda: proxy.events("reload_succeeded"))
        for client in (retried.flight(), half_open):
            assert client.reply().status() == 200
