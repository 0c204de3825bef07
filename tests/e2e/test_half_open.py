"""Thousands of clients that fall silent in the middle of a handshake, in every answer mode.

They cost no process, no task, no backend connection and next to no memory; they are ended on time,
and honest clients do not notice. Behind a HelloRetryRequest nothing of them is kept but what the
kernel has and a few bytes by descriptor; behind the flight there is an entry in one bounded table,
the front's or, where the front holds no key, a worker's.
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
from tests.e2e.half_open import FIRST, SECOND, Answered, Ended, HalfOpenClients
from tests.e2e.honest import HonestClients
from tests.e2e.memory import kernel_bytes, socket_pages, user_bytes

HALF_OPEN = "vestibule_handshakes_half_open"

FLIGHT_BYTES = 350
"""What a client that has the flight may cost in user memory."""

RETRY_BYTES = 16
"""And one that has a HelloRetryRequest."""

NOISE_BYTES = 512 << 10
"""What processes of a role gain and lose between two looks, whoever comes."""

LINES = (
    "clients: {clients}, of whom {retried} were asked for a second hello; all had come after "
    "{opened_in_s} s, and each was ended after {ended_after_s} s",
    "memory of each: {front_bytes_each} B in the front, {workers_bytes_each} B in workers, "
    "{kernel_bytes_each_pair} B in the kernel for both ends, {buffer_bytes_each} B in TCP buffers",
    "honest clients: p50 {honest_p50_ms_opening} ms while these came, {honest_p50_ms_held} ms "
    "while they were silent; at most {honest_max_ms} ms",
)
"""Of the report."""

PRESSURE_AT = 512
"""The shipped default: so many without a reply, and adaptive listeners answer by retry."""

A_TURN = 256
"""Clients that one turn may answer before the front looks at how many there are."""

LATE_S = 5.0
"""How much later than that a busy machine may end a client."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """What all clients of one process do: which hello they bring, and behind which they stop."""

    moment: str
    kind: str

    def __str__(self) -> str:
        return f"{self.moment}-{self.kind}"


@dataclass(frozen=True, slots=True)
class Case:
    """How the proxy answers, and who comes: two processes, as one may have 20,000 descriptors."""

    answer: str
    crowds: tuple[Crowd, Crowd]

    def __str__(self) -> str:
        return "-".join((self.answer, *map(str, dict.fromkeys(self.crowds))))


# Where nothing else calls for a second hello, it is for who brings no key share.
AGAIN = {"direct": "shareless", "retry": "small", "adaptive": "small"}
CASES = [
    Case(answer, (Crowd(FIRST, "small"), Crowd(SECOND, kind))) for answer, kind in AGAIN.items()
]
FULL_CASES = [
    Case(answer, (Crowd(moment, kind),) * 2)
    for answer, again in AGAIN.items()
    for moment, kind in ((FIRST, "small"), (FIRST, "browser"), (SECOND, again))
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = FULL_CASES if metafunc.config.getoption("--full-scale") else CASES
        metafunc.parametrize("case", cases, ids=str)


@dataclass(frozen=True, slots=True)
class State:
    """What must not follow the number of silent clients, and what it costs."""

    pids: list[int]
    tasks: dict[tuple[str, ...], float]
    backend_connections: int
    user: dict[str, int]
    """Memory by role."""
    kernel: int | None
    pages: int

    @classmethod
    def of(cls, vestibule: Vestibule, backend: Backend) -> State:
        """Look at everything once."""
        scrape = vestibule.metrics()
        tasks = scrape.by("vestibule_event_loop_tasks", "role", "slot")
        # The supervisor's tasks answer this very question.
        tasks = {key: count for key, count in tasks.items() if key[0] != "supervisor"}
        user = {}
        for role in ("front", "worker"):
            found = user_bytes(vestibule.pids(role))
            if found is None:  # not root: what they say of themselves, shared pages and all
                found = round(scrape.value("vestibule_process_resident_memory_bytes", role=role))
            user[role] = found
        pids = vestibule.all_pids()
        return cls(pids, tasks, backend.accepted(), user, kernel_bytes(), socket_pages())


@dataclass(frozen=True, slots=True)
class Flood:
    """All silent clients of a test, as their processes tell of them."""

    clients: int
    retried: int
    """Who was asked for a second hello."""
    returned: int
    """Who brought one."""
    opened_in_s: float

    @property
    def stored(self) -> int:
        """Who has the server's flight."""
        return self.clients - self.retried + self.returned

    @classmethod
    def of(cls, case: Case, answered: list[Answered]) -> Flood:
        """Nobody may have failed."""
        assert [one.failed for one in answered] == [0] * len(answered)
        pairs = list(zip(case.crowds, answered, strict=True))
        if case.answer != "adaptive":
            for crowd, one in pairs:
                always = case.answer == "retry" or crowd.kind == "shareless"
                assert one.retried == (one.answered if always else 0)
        return cls(
            sum(one.answered for one in answered),
            sum(one.retried for one in answered),
            sum(one.retried for crowd, one in pairs if crowd.moment == SECOND),
            max(one.seconds for one in answered),
        )


@pytest.fixture
def timeout_s(scale: Scale) -> float:
    """What clients get for their next message: on a slow machine the last has to come before the
    first is ended, and where few come nobody needs to wait long."""
    return 20.0 if scale.is_full else 3.0


@pytest.fixture
def proxy(
    tmp_path: Path,
    authority: Authority,
    backend: Backend,
    case: Case,
    timeout_s: float,
    scale: Scale,
) -> Iterator[Vestibule]:
    """A proxy of its own that has served before, and has seen a few such clients."""
    timeouts = {"hello_s": timeout_s, "reply_s": timeout_s, "handshake_s": 3 * timeout_s}
    content = backend.settings(authority, authority.files(), timeouts=timeouts)
    content["listeners"][0]["answer"] = case.answer
    with Vestibule(tmp_path, content) as vestibule:
        warm = HonestClients(vestibule.port, authority)
        for _ in range(12):
            warm.fetch()
        assert warm.errors == []
        with silent_clients(vestibule.port, scale(reduced=20, full=600), case) as processes:
            for process in processes:
                process.answered()
        eventually(lambda: holders(vestibule) == Holders(0, 0, 0, 0))
        eventually(lambda: vestibule.metric("vestibule_pressure_active") == 0)
        yield vestibule


@contextlib.contextmanager
def silent_clients(port: int, count: int, case: Case) -> Iterator[list[HalfOpenClients]]:
    """So many of them."""
    first, second = case.crowds
    half = count // 2
    with (
        HalfOpenClients(port, half, "127.0.1.1", first.kind, moment=first.moment) as one,
        HalfOpenClients(port, count - half, "127.0.2.1", second.kind, moment=second.moment) as two,
    ):
        yield [one, two]


@pytest.mark.scale
@pytest.mark.requirement("A1", "A30", "A32", "A51", "A52", "A53")
def test_silent_clients_cost_next_to_nothing(
    proxy: Vestibule,
    authority: Authority,
    backend: Backend,
    scale: Scale,
    report: Report,
    case: Case,
    timeout_s: float,
) -> None:
    count = scale(reduced=800, full=15_000)
    eventually(lambda: proxy.connections("worker") == 0)
    before = State.of(proxy, backend)
    with silent_clients(proxy.port, count, case) as processes:
        with HonestClients(proxy.port, authority) as honest:
            flood = Flood.of(case, [process.answered() for process in processes])
        eventually(lambda: holders(proxy) == expected(case, flood))
        check_answers(proxy, case, flood)
        during = State.of(proxy, backend)
        with HonestClients(proxy.port, authority) as honest_later:
            ended = [process.ended() for process in processes]
    assert during.pids == before.pids
    assert during.tasks == before.tasks
    assert during.backend_connections == before.backend_connections
    assert honest.errors + honest_later.errors == []
    check_reaped(proxy, ended, flood, timeout_s)
    numbers = measured(case, flood, before, during, ended) | {
        "honest_p50_ms_opening": honest.percentile_ms(0.5),
        "honest_p50_ms_held": honest_later.percentile_ms(0.5),
        "honest_max_ms": max(honest.percentile_ms(1), honest_later.percentile_ms(1)),
    }
    shown = {name: "no" if value is None else value for name, value in numbers.items()}
    report(f"silent clients, {case}", table=[line.format(**shown) for line in LINES], **numbers)
    gained = {role: during.user[role] - before.user[role] for role in before.user}
    allowed = FLIGHT_BYTES * flood.stored
    at_front = RETRY_BYTES * (count - flood.stored)
    if case.answer == "retry":
        assert gained["worker"] < NOISE_BYTES + allowed
        assert gained["front"] < NOISE_BYTES + at_front
    else:
        assert gained["front"] < NOISE_BYTES + at_front + allowed


@dataclass(frozen=True, slots=True)
class Holders:
    """Who has the clients: connections and table entries by role."""

    front: int
    front_half_open: int
    workers: int
    workers_half_open: int


def holders(proxy: Vestibule) -> Holders:
    """At the moment."""
    processes = proxy.status()["processes"]

    def total(role: str, key: str) -> int:
        return sum(one[key] or 0 for one in processes if one["role"] == role)

    return Holders(
        total("front", "connections"),
        total("front", "half_open"),
        total("worker", "connections"),
        total("worker", "half_open"),
    )


def expected(case: Case, flood: Flood) -> Holders:
    """Where they have to be while all are silent."""
    if case.answer == "retry":
        return Holders(flood.clients - flood.stored, 0, flood.stored, flood.stored)
    return Holders(flood.clients, flood.stored, 0, 0)


def check_answers(proxy: Vestibule, case: Case, flood: Flood) -> None:
    """What metrics say of it; honest clients, who are there too, may count as well."""
    scrape = proxy.metrics()
    assert scrape.value(HALF_OPEN) == flood.stored
    assert scrape.value("vestibule_hellos_total", answer="retry") >= flood.retried
    assert scrape.value("vestibule_retries_returned_total") >= flood.returned
    if case.answer == "adaptive":
        assert flood.clients - flood.retried <= PRESSURE_AT + A_TURN
        assert scrape.value("vestibule_pressure_active") == 1
        assert scrape.value("vestibule_pressure_changes_total", change="began") >= 1
    else:
        assert scrape.value("vestibule_hellos_total", answer="direct") >= (
            flood.clients - flood.retried
        )


def check_reaped(proxy: Vestibule, ended: list[Ended], flood: Flood, timeout_s: float) -> None:
    """Every client was ended when its time was over, and nothing of it is left."""
    assert sum(one.ended for one in ended) == flood.clients
    for one in ended:
        assert one.first_s > timeout_s - 0.5
        assert one.last_s < timeout_s + LATE_S
    scrape = proxy.metrics()
    assert scrape.value("vestibule_reaped_total", store="replies") == flood.stored
    assert scrape.value("vestibule_reaped_total", store="hellos") == flood.clients - flood.stored
    assert scrape.value(HALF_OPEN) == 0
    assert scrape.value("vestibule_handshakes_half_open_bytes") == 0
    eventually(lambda: holders(proxy) == Holders(0, 0, 0, 0))


def measured(
    case: Case, flood: Flood, before: State, during: State, ended: list[Ended]
) -> dict[str, Any]:
    """The numbers of one flood."""

    def each(first: int | None, second: int | None) -> float | None:
        if first is None or second is None:
            return None
        return round((second - first) / flood.clients, 1)

    return {
        "clients": flood.clients,
        "retried": flood.retried,
        "front_bytes_each": each(before.user["front"], during.user["front"]),
        # Under other policies workers only see who is honest.
        "workers_bytes_each": each(before.user["worker"], during.user["worker"])
        if case.answer == "retry"
        else None,
        # Slab objects of both ends: the clients run on this machine too.
        "kernel_bytes_each_pair": each(before.kernel, during.kernel),
        "buffer_bytes_each": each(before.pages * 4096, during.pages * 4096),
        "opened_in_s": round(flood.opened_in_s, 2),
        "ended_after_s": f"{min(one.first_s for one in ended):.2f}-"
        f"{max(one.last_s for one in ended):.2f}",
    }
