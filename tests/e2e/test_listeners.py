"""Addresses of every kind, several fronts on one port, and a front without descriptors left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import PAGE, Authority, Backend
from tests.e2e.deployment import LIMIT_S, Vestibule, eventually
from tests.e2e.raw import REQUEST, RawClient
from tests.peers import free_port

SILENT = 60


def fetch(connection: socket.socket, context: ssl.SSLContext) -> str:
    """The page over a connected socket, which is closed then."""
    connection.settimeout(LIMIT_S)
    with connection, context.wrap_socket(connection, server_hostname="localhost") as client:
        client.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        with client.makefile("rb") as answer:
            return answer.read().partition(b"\r\n\r\n")[2].decode()


def has_ipv6() -> bool:
    """Whether this machine has ::1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.requirement("A7")
def test_every_kind_of_address(tmp_path: Path, authority: Authority, backend: Backend) -> None:
    path = tmp_path / "public.sock"
    ipv4, ipv6, dual = free_port(), free_port("::1"), free_port("::")
    binds = [f"127.0.0.1:{ipv4}", f"unix:{path}"]
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    content = backend.settings(authority, authority.files(), bind=[*binds, f"[::1]:{ipv6}"])
    listener = content["listeners"][0]
    content["listeners"].append(
        {**listener, "name": "dual", "bind": [f"[::]:{dual}"], "dual_stack": True}
    )
    context = authority.trusting()
    with Vestibule(tmp_path, content) as vestibule:
        for host, port in (("127.0.0.1", ipv4), ("::1", ipv6), ("127.0.0.1", dual), ("::1", dual)):
            assert fetch(socket.create_connection((host, port)), context) == PAGE
        local = socket.socket(socket.AF_UNIX)
        local.connect(str(path))
        assert fetch(local, context) == PAGE
        # An IPv6 address without dual_stack means IPv6.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", ipv6), timeout=LIMIT_S)
        accepted = vestibule.metrics().by("vestibule_connections_total", "listener")
        assert accepted == {("public",): 3, ("dual",): 2}
        # Clients are named alike whichever family their socket has.
        eventually(lambda: vestibule.access_log.count("\n") == 5)
        clients = [json.loads(line)["client"] for line in vestibule.access_log.splitlines()]
        assert Counter(clients) == {"127.0.0.1": 2, "::1": 2, None: 1}
    assert not path.exists()


@contextlib.contextmanager
def silent(port: int, count: int) -> Iterator[list[RawClient]]:
    """So many clients that have their answer and do not reply."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RawClient(port)).greet() for _ in range(count)]


def test_fronts_share_a_port(tmp_path: Path, authority: Authority, backend: Backend) -> None:
    content = backend.settings(authority, authority.files(), processes={"fronts": 2})
    context = authority.trusting()
    with Vestibule(tmp_path, content) as vestibule:
        with silent(vestibule.port, SILENT):
            waiting = [one["half_open"] for one in vestibule.processes("front")]
            assert sum(waiting) == SILENT
            assert min(waiting) > 0
            for _ in range(10):
                assert (
                    fetch(socket.create_connection(("127.0.0.1", vestibule.port)), context) == PAGE
                )
        eventually(lambda: vestibule.connections("front") == 0)


def test_a_front_survives_its_last_descriptor(
    tmp_path: Path, authority: Authority, backend: Backend
) -> None:
    """It raises its soft limit to the hard one, so the hard one is low here."""
    limit = 256  # above what a worker keeps free for what fronts offer
    content = backend.settings(authority, authority.files())
    context = authority.trusting()
    before = ["prlimit", f"--nofile={limit}:{limit}"]
    with Vestibule(tmp_path, content, before=before) as vestibule:
        assert vestibule.metric("vestibule_process_max_fds", role="front") == limit
        clients = [
            socket.create_connection(("127.0.0.1", vestibule.port), timeout=LIMIT_S)
            for _ in range(2 * limit)
        ]
        try:
            eventually(
                lambda: vestibule.metric("vestibule_accept_errors_total", reason="emfile") > 0
            )
            honest = socket.create_connection(("127.0.0.1", vestibule.port))
        finally:
            for client in clients:
                client.close()
        # It was queued behind all of them.
        assert fetch(honest, context) == PAGE
        for _ in range(5):
            assert fetch(socket.create_connection(("127.0.0.1", vestibule.port)), context) == PAGE
        eventually(lambda: vestibule.connections("front") == 0)
        assert vestibule.metric("vestibule_process_restarts_total") == 0


def test_a_front_without_descriptors_gets_its_new_worker_and_configuration(
    tmp_path: Path, authority: Authority, backend: Backend
) -> None:
    limit = 256
    content = backend.settings(authority, authority.files(), processes={"workers": 1})
    context = authority.trusting()
    before = ["prlimit", f"--nofile={limit}:{limit}"]
    with Vestibule(tmp_path, content, before=before) as vestibule:
        (front,), (worker,) = vestibule.pids("front"), vestibule.pids("worker")
        with contextlib.ExitStack() as stack:
            for _ in range(2 * limit):
                stack.enter_context(
                    socket.create_connection(("127.0.0.1", vestibule.port), timeout=LIMIT_S)
                )
            eventually(
                lambda: vestibule.metric("vestibule_accept_errors_total", reason="emfile") > 0
            )
            os.kill(worker, signal.SIGKILL)
            restarts = "vestibule_process_restarts_total"
            eventually(lambda: vestibule.metric(restarts, role="worker") == 1)
            eventually(lambda: vestibule.processes("worker")[0]["state"] == "serving")
            vestibule.signal(signal.SIGHUP)
            reloads = "vestibule_configuration_reloads_total"
            eventually(lambda: vestibule.metric(reloads, result="success") == 1)
        assert fetch(socket.create_connection(("127.0.0.1", vestibule.port)), context) == PAGE
        assert vestibule.pids("front") == [front]
        assert vestibule.events("control_channel_failed") == []


def test_idle_clients_leave_a_worker_descriptors_for_backends(
    tmp_path: Path, authority: Authority, backend: Backend
) -> None:
    limit, idle = 640, 600
    content = backend.settings(authority, authority.files(), processes={"workers": 1})
    before = ["prlimit", f"--nofile={limit}:{limit}"]
    with Vestibule(tmp_path, content, before=before) as vestibule:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(RawClient(vestibule.port)) for _ in range(idle)]
            for client in clients:
                client.greet()
                client.send(client.tls.finish())
            finished = "vestibule_handshakes_total"
            eventually(lambda: vestibule.metric(finished) == idle)
            assert limit // 2 <= vestibule.connections("worker") < idle
            assert b"200 OK" in clients[0].request()
        eventually(lambda: vestibule.connections("worker") == 0)
        context = authority.trusting()
        assert fetch(socket.create_connection(("127.0.0.1", vestibule.port)), context) == PAGE
