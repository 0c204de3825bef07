"""Thousands of clients that fall silent after their hello cost no process, no task, no backend
connection and next to no memory; they are ended on time, and honest clients do not notice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Scale
from tests.e2e.conftest import Authority, Backend, Report
from tests.e2e.deployment import Vestibule, eventually
from tests.e2e.half_open import Answered, Ended, HalfOpenClients
from tests.e2e.honest import HonestClients
from tests.e2e.memory import kernel_bytes, socket_pages, user_bytes

BYTES_PER_CLIENT = 512
"""What the small hello may cost in user memory, over all processes."""

REPLY_TIMEOUT_S = 10.0
"""The shipped default."""

LATE_S = 5.0
"""How much later than the default a busy machine may end a client."""


@dataclass(frozen=True, slots=True)
class State:
    """What must not follow the number of silent clients, and what it costs."""

    pids: list[int]
    tasks: dict[tuple[str, ...], float]
    backend_connections: int
    user: int
    kernel: int | None
    pages: int

    @classmethod
    def of(cls, vestibule: Vestibule, backend: Backend) -> State:
        """Look at everything once."""
        pids = vestibule.all_pids()
        scrape = vestibule.metrics()
        tasks = scrape.by("vestibule_event_loop_tasks", "role", "slot")
        # The supervisor's tasks answer this very question.
        tasks = {key: count for key, count in tasks.items() if key[0] != "supervisor"}
        user = user_bytes(pids)
        if user is None:  # not root: what they say of themselves, shared pages and all
            user = round(scrape.value("vestibule_process_resident_memory_bytes"))
        return cls(pids, tasks, backend.accepted(), user, kernel_bytes(), socket_pages())


@pytest.fixture
def proxy(tmp_path: Path, authority: Authority, backend: Backend) -> Iterator[Vestibule]:
    """A proxy of its own, with shipped defaults, that has served before."""
    content = backend.settings(authority, authority.files())
    with Vestibule(tmp_path, content) as vestibule:
        warm = HonestClients(vestibule.port, authority)
        for _ in range(40):
            warm.fetch()
        assert warm.errors == []
        yield vestibule


@contextlib.contextmanager
def silent_clients(port: int, count: int, kind: str) -> Iterator[list[HalfOpenClients]]:
    """So many of them, in two processes: one may hold 20,000 descriptors at most."""
    half = count // 2
    with (
        HalfOpenClients(port, half, "127.0.1.1", kind) as first,
        HalfOpenClients(port, count - half, "127.0.2.1", kind) as second,
    ):
        yield [first, second]


@pytest.mark.scale
@pytest.mark.requirement("A1", "A32", "A51", "A52", "A53")
@pytest.mark.parametrize("kind", ["small", "browser"])
def test_silent_clients_cost_next_to_nothing(
    proxy: Vestibule,
    authority: Authority,
    backend: Backend,
    scale: Scale,
    report: Report,
    kind: str,
) -> None:
    count = scale(reduced=3000, full=15_000)
    eventually(lambda: proxy.connections("worker") == 0)
    before = State.of(proxy, backend)
    with silent_clients(proxy.port, count, kind) as processes:
        with HonestClients(proxy.port, authority) as honest:
            answered = [process.answered() for process in processes]
        eventually(lambda: proxy.connections("worker") == 0)
        half_open = proxy.metric("vestibule_handshakes_half_open")
        during = State.of(proxy, backend)
        with HonestClients(proxy.port, authority) as honest_later:
            ended = [process.ended() for process in processes]
    assert [one.failed for one in answered] == [0, 0]
    assert half_open == count
    assert during.pids == before.pids
    assert during.tasks == before.tasks
    assert during.backend_connections == before.backend_connections
    assert honest.errors + honest_later.errors == []
    check_reaped(proxy, ended, count)
    numbers = measured(count, before, during, answered, ended)
    report(
        f"silent clients, hello of {answered[0].hello_bytes} bytes",
        **numbers,
        honest_p50_ms_opening=honest.percentile_ms(0.5),
        honest_p50_ms_held=honest_later.percentile_ms(0.5),
        honest_max_ms=max(honest.percentile_ms(1), honest_later.percentile_ms(1)),
    )
    if kind == "small":
        assert numbers["user_bytes_each"] < BYTES_PER_CLIENT


def check_reaped(proxy: Vestibule, ended: list[Ended], count: int) -> None:
    """Every client was ended when its time to reply was over, and nothing of it is left."""
    assert sum(one.ended for one in ended) == count
    for one in ended:
        assert one.first_s > REPLY_TIMEOUT_S - 0.5
        assert one.last_s < REPLY_TIMEOUT_S + LATE_S
    scrape = proxy.metrics()
    assert scrape.value("vestibule_reaped_total", store="replies") == count
    assert scrape.value("vestibule_handshakes_half_open") == 0
    assert scrape.value("vestibule_handshakes_half_open_bytes") == 0
    eventually(lambda: proxy.connections("front") == 0)


def measured(
    count: int, before: State, during: State, answered: list[Answered], ended: list[Ended]
) -> dict[str, Any]:
    """The numbers of one flood."""

    def each(first: int | None, second: int | None) -> int | None:
        return None if first is None or second is None else round((second - first) / count)

    return {
        "clients": count,
        "user_bytes_each": each(before.user, during.user),
        # Slab objects of both ends: the clients run on this machine too.
        "kernel_bytes_each_pair": each(before.kernel, during.kernel),
        "buffer_bytes_each": each(before.pages * 4096, during.pages * 4096),
        "opened_in_s": round(max(one.seconds for one in answered), 2),
        "ended_after_s": f"{min(one.first_s for one in ended):.2f}-"
        f"{max(one.last_s for one in ended):.2f}",
    }
