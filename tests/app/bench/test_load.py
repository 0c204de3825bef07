"""The load processes against a real proxy."""

from __future__ import annotations

import os
import signal

import pytest

from proxy.app.bench.load import Load, checked
from proxy.app.bench.rotation import BurstFailed
from proxy.app.bench.server import Server, free_port
from proxy.app.bench.sites import Site
from proxy.app.failures import OperatorError
from tests.app.supervised import children_of


@pytest.mark.parametrize(("done", "failed"), [(100, 0), (99, 1), (0, 0)])
def test_what_is_tolerated(done: int, failed: int) -> None:
    assert checked(done, failed) == done


def test_what_is_not() -> None:
    with pytest.raises(BurstFailed, match="2 of 100 clients failed"):
        checked(98, 2)


def test_hellos_that_are_abandoned(load: Load, server: Server) -> None:
    cost_us = server.cpu_us_per(lambda: load.abandoned_hellos(server.ports["ecdsa"], 200))
    assert 10 < cost_us < 20_000


def test_clients_that_stay_half_open_cost_memory_while_they_last(
    load: Load, server: Server
) -> None:
    port = server.ports["ecdsa"]
    load.abandoned_hellos(port, 50)
    before = server.private_bytes()
    with load.half_open(port, 500) as held:
        assert held == 500
        assert 0 <= server.private_bytes() - before < 500 * 40_000


def test_whole_handshakes(load: Load, server: Server) -> None:
    assert load.whole_handshakes(server.ports["ecdsa"], 20) == 20


def test_honest_clients_in_a_flood(load: Load, server: Server) -> None:
    found = load.honest_in_flood(server.ports["ecdsa"], 0.5)
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_nobody_listens(load: Load) -> None:
    with pytest.raises(BurstFailed, match="20 of 20 clients failed"):
        load.abandoned_hellos(free_port(), 20)
    with pytest.raises(BurstFailed, match="5 of 5 clients failed"):
        load.whole_handshakes(free_port(), 5)


def test_the_flood_yields_to_honest_clients(site: Site) -> None:
    others = set(children_of(os.getpid()))
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    with Load(site.ca, None):
        started = set(children_of(os.getpid())) - others
        nice = {os.getpriority(os.PRIO_PROCESS, pid) for pid in started}
    assert nice == {ours, min(ours + 10, 19)}


def test_a_load_process_that_dies_is_an_error(site: Site) -> None:
    others = set(children_of(os.getpid()))
    with Load(site.ca, None) as load:
        for pid in set(children_of(os.getpid())) - others:
            os.kill(pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(OperatorError, match="the load process has ended"):
                load.whole_handshakes(free_port(), 5)
