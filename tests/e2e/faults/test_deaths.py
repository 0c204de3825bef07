"""docs/faults.md is true: kill -9 of each kind of process, with clients in every state.

The document's table is read here, so a change of behaviour has to change what operators are told.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Authority, Backend
from tests.e2e.deployment import Vestibule, eventually, gone
from tests.e2e.faults.conftest import Run, come
from tests.e2e.faults.crowd import ACCEPTED, ANSWERED, FLIGHT, IDLE, QUEUED, TRANSFER, Crowd, fate
from tests.e2e.half_open import HalfOpenClients
from tests.e2e.honest import HonestClients

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "faults.md"

COUNT = 4
"""Clients of each state: several for each of two workers."""

AFTERWARDS = "comes afterwards"
STATES = {QUEUED, ACCEPTED, ANSWERED, FLIGHT, IDLE, TRANSFER, AFTERWARDS}
"""Rows of the document. Of those on offer, test_offers tells."""

SILENT = 300
"""Half-open ones beside them."""


def table(answer: str, killed: str) -> dict[str, str]:
    """The column of the document for this death: what becomes of clients by their state."""
    first = DOCUMENT.read_text().partition("\n| the client ")[2].partition("\n\n")[0]
    head, _, *rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in first.splitlines()
    ]
    column = head.index(killed)
    fates: dict[str, str] = {}
    for row in rows:
        special, separator, usual = row[column + 1].partition(" under retry; else ")
        fates[row[0]] = usual if separator and answer != "retry" else special
    assert fates.keys() >= STATES
    return fates


def check(found: dict[str, Counter[str]], expected: dict[str, str]) -> None:
    """Everybody fared as the document says."""
    for state, fates in found.items():
        match expected[state]:
            case "its own are closed":
                assert set(fates) == {"served", "closed"}, (state, fates)
            case "served or closed":
                assert set(fates) <= {"served", "closed"}, (state, fates)
            case word:
                assert set(fates) == {word}, (state, fates)


def newcomer(proxy: Vestibule) -> str:
    """How one fares who comes now."""
    with come(proxy) as client:
        return fate(lambda: client.greet().reply().status())


def established(worker: dict[str, Any]) -> int:
    """Clients that a worker serves; under retry it has half-open ones too."""
    return int(worker["connections"]) - int(worker["half_open"] or 0)


def replaced(proxy: Vestibule, role: str, pid: int) -> None:
    """Wait until others serve in place of that one."""

    def serves() -> bool:
        processes = proxy.processes(role)
        return all(one["state"] == "serving" and one["pid"] != pid for one in processes)

    eventually(serves)


def test_a_worker(run: Run, answer: str, authority: Authority, backend: Backend) -> None:
    proxy = run(processes={"workers": 2})
    expected = table(answer, "a worker")
    with (
        Crowd(proxy.port, authority.trusting(), backend, COUNT) as crowd,
        HalfOpenClients(proxy.port, SILENT, "127.0.1.1", "small") as silent,
    ):
        assert silent.answered().failed == 0
        crowd.come()
        eventually(lambda: sum(map(established, proxy.processes("worker"))) == crowd.established)
        victim = proxy.processes("worker")[0]
        with HonestClients(proxy.port, authority) as honest:
            os.kill(victim["pid"], signal.SIGKILL)
            gone(victim["pid"])
            found = crowd.fates()
            found[AFTERWARDS] = Counter([newcomer(proxy)])
            replaced(proxy, "worker", victim["pid"])
        check(found, expected)
        lost = found[IDLE]["closed"] + found[TRANSFER]["closed"]
        assert lost == established(victim)
        # The one who was in its hands just then.
        assert len(honest.errors) <= 1, honest.errors
    assert proxy.metric("vestibule_process_restarts_total", role="worker") == 1
    assert proxy.metric("vestibule_process_restarts_total", role="front") == 0


def test_a_front(run: Run, answer: str, authority: Authority, backend: Backend) -> None:
    proxy = run()
    expected = table(answer, "a front")
    with (
        Crowd(proxy.port, authority.trusting(), backend, COUNT) as crowd,
        HalfOpenClients(proxy.port, SILENT, "127.0.1.1", "small") as silent,
    ):
        assert silent.answered().failed == 0
        crowd.come()
        (front,) = proxy.pids("front")
        with HonestClients(proxy.port, authority) as honest:
            os.kill(front, signal.SIGSTOP)
            crowd.queue()
            os.kill(front, signal.SIGKILL)
            gone(front)
            found = crowd.fates()
            found[AFTERWARDS] = Counter([newcomer(proxy)])
            check(found, expected)
            replaced(proxy, "front", front)
        assert len(honest.errors) <= 1, honest.errors
    assert proxy.metric("vestibule_process_restarts_total", role="front") == 1
    assert proxy.metric("vestibule_process_restarts_total", role="worker") == 0


def test_the_supervisor(run: Run, answer: str, authority: Authority, backend: Backend) -> None:
    # Whoever replies now waits that long for a worker that is not leaving.
    proxy = run(timeouts={"handoff_s": 0.2})
    expected = table(answer, "the supervisor")
    pids = proxy.all_pids()
    with Crowd(proxy.port, authority.trusting(), backend, COUNT) as crowd:
        crowd.come()
        (front,) = proxy.pids("front")
        os.kill(front, signal.SIGSTOP)
        crowd.queue()
        proxy.expected_status = -signal.SIGKILL
        proxy.signal(signal.SIGKILL)
        proxy.process.wait()
        os.kill(front, signal.SIGCONT)
        # Who goes on before they have noticed is served by them as ever.
        eventually(lambda: len(proxy.events("supervisor_gone")) == len(pids) - 1)
        check(crowd.fates(), expected)
    for pid in pids:
        gone(pid)
    assert expected[AFTERWARDS] == "refused"
    with pytest.raises(ConnectionRefusedError):
        newcomer(proxy)
