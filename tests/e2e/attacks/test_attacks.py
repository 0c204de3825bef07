"""Honest clients of a proxy that is attacked: none fails, and afterwards all is as it was before.

At full scale each answer mode is attacked, and in turns with the default one nginx too; the result
is how long honest clients have to wait. With few clients only the former is checked.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from tests.e2e.attacks.attackers import ATTACKS
from tests.e2e.attacks.driver import Counts
from tests.e2e.attacks.field import Field, Phase, Server
from tests.e2e.conftest import Report
from tests.e2e.deployment import Vestibule, eventually

FAILURES = "vestibule_handshake_failures_total"
BROKEN = "vestibule_tls_failures_total"
LATENCIES = ("handshake_p50_ms", "handshake_p99_ms", "request_p50_ms", "request_p99_ms")
PHASES = ("before", "during", "after")
ROUNDS = 3
"""Against each server, at full scale."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A metric that tells of an attack, and by how much it has to grow."""

    name: str
    labels: Mapping[str, str]
    least: Callable[[Counts], int]

    def of(self, proxy: Vestibule) -> float:
        """At the moment."""
        return proxy.metric(self.name, **self.labels)


UNBROKEN = Counted(BROKEN, {}, lambda counts: 0)
"""Of an attack that is within what a client may do."""

COUNTED: dict[str, Counted] = {
    "hellos": Counted(FAILURES, {"reason": "econnreset"}, lambda counts: counts.left),
    "hellos_with_cookies": Counted(FAILURES, {"reason": "econnreset"}, lambda counts: counts.left),
    "junk_replies": Counted(FAILURES, {"stage": "reply"}, lambda counts: counts.left),
    "slow_hellos": Counted(
        "vestibule_reaped_total",
        {"store": "hellos"},
        lambda counts: ATTACKS["slow_hellos"].connections,
    ),
    # Every other one is too large, those who are still there apart.
    "giant_hellos": Counted(
        FAILURES,
        {"reason": "message_too_long"},
        lambda counts: counts.left // 2 - ATTACKS["giant_hellos"].connections,
    ),
    "fragmented_hellos": Counted("vestibule_hellos_total", {}, lambda counts: counts.left),
    "churn_of_one": Counted(FAILURES, {"reason": "econnreset"}, lambda counts: counts.left),
    "churn_of_many": Counted(FAILURES, {"reason": "peer_closed"}, lambda counts: counts.left),
    "key_updates": Counted(BROKEN, {"reason": "too_many_key_updates"}, lambda counts: counts.ended),
    "empty_records": Counted(
        BROKEN, {"reason": "too_many_empty_records"}, lambda counts: counts.ended
    ),
}

MARKED = {
    "slow_hellos": ("A3", "A51", "A52"),
    "giant_hellos": ("A3", "A4", "A6"),
    "fragmented_hellos": ("A3",),
    "junk_replies": ("A34",),
    "churn_of_one": ("A43",),
    "churn_of_many": ("A43",),
}
"""The rows that an attack shows besides those of all."""


class Row(dict[str, float]):
    """Figures of one server in one phase; a person sees only the latencies."""

    def __str__(self) -> str:
        return "/".join(f"{self[name]:g}" for name in LATENCIES)


def _parameters() -> list[Any]:
    marked = {name: pytest.mark.requirement(*rows) for name, rows in MARKED.items()}
    return [
        pytest.param(name, marks=[marked[name]] if name in marked else [])
        for name in ATTACKS
        if name != "silence"  # see tests/e2e/test_half_open.py
    ]


@dataclass
class Outcome:
    """What several rounds against one server came to."""

    phases: dict[str, list[Phase]] = field(default_factory=lambda: {name: [] for name in PHASES})
    counts: list[Counts] = field(default_factory=list)

    def errors(self) -> list[str]:
        """Of its honest clients."""
        return [
            one for rounds in self.phases.values() for each in rounds for one in each.figures.errors
        ]

    def numbers(self) -> dict[str, Row]:
        """For the report: of several rounds the median."""
        found = {name: Row(_medians(rounds)) for name, rounds in self.phases.items()}
        sent = sum(one.sent_bytes for one in self.counts)
        seconds = sum(one.seconds for one in self.counts)
        more = found["during"]["cpu"] - found["before"]["cpu"]
        found["during"] |= {
            "attackers_per_s": sum(one.opened for one in self.counts) / seconds,
            "attackers_bytes_per_s": sent / seconds,
            "cpu_ns_per_attackers_byte": 1e9 * more * seconds / sent if sent else 0.0,
        }
        return found


def _medians(rounds: Iterable[Phase]) -> dict[str, float]:
    found = [{**asdict(one.figures), "cpu": one.cpu} for one in rounds]
    return {
        name: round(statistics.median(one[name] for one in found), 3)
        for name in (*LATENCIES, "cpu")
    }


@pytest.mark.scale
@pytest.mark.requirement("A1", "A32", "A43")
@pytest.mark.parametrize("name", _parameters())
def test_honest_clients_are_served(attacked: Field, name: str, report: Report) -> None:
    outcomes = {server.name: Outcome() for server in attacked.servers}
    standing = attacked.rest()
    for _ in range(attacked.scale(reduced=1, full=ROUNDS)):
        for server in attacked.servers:
            carry_out(attacked, server, name, outcomes[server.name])
    assert standing.is_again(attacked.rest())
    report(
        f"{name}, {attacked.answer}",
        latencies="handshake p50/p99, request p50/p99",
        **{
            f"{server}_{phase}": row
            for server, outcome in outcomes.items()
            for phase, row in outcome.numbers().items()
        },
        **{f"{server}_errors": len(outcome.errors()) for server, outcome in outcomes.items()},
    )
    assert outcomes["vestibule"].errors() == []


def carry_out(attacked: Field, server: Server, name: str, outcome: Outcome) -> None:
    """One attack on one server; what it is refused has to be counted."""
    told = COUNTED.get(name, UNBROKEN)
    outcome.phases["before"].append(attacked.measure(server, 0.5))
    known = 0.0 if server.proxy is None else told.of(server.proxy)
    attacked.driver.begin(name, server.port)
    outcome.phases["during"].append(attacked.measure(server))
    if server.proxy is None:
        counts = attacked.driver.end()
    else:
        counts = _checked(attacked, server.proxy, told, known)
    outcome.counts.append(counts)
    outcome.phases["after"].append(attacked.measure(server, 0.5))


def _checked(attacked: Field, proxy: Vestibule, told: Counted, known: float) -> Counts:
    """End the attack once it has got somewhere, and wait until the proxy tells of all of it."""
    driver = attacked.driver
    eventually(lambda: told.of(proxy) - known >= max(1, told.least(Counts())) or told is UNBROKEN)
    counts = driver.end()
    if told is UNBROKEN:
        assert counts.sent_bytes
        assert counts.ended == told.of(proxy) - known == 0
    else:
        eventually(lambda: told.of(proxy) - known >= told.least(counts))
    return counts
