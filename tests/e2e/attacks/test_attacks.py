"""Honest clients of a proxy that is attacked: none fails, and afterwards all is as it was before.

At full scale each answer mode is attacked, and in turns with the default one nginx too; the result
is how long honest clients have to wait. With few clients only the former is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.attacks.attackers import ATTACKS
from tests.e2e.attacks.driver import Counts
from tests.e2e.attacks.field import Field, Server, Standing
from tests.e2e.attacks.outcome import Outcome, table
from tests.e2e.conftest import Report
from tests.e2e.deployment import Vestibule, eventually

FAILURES = "vestibule_handshake_failures_total"
BROKEN = "vestibule_tls_failures_total"
ROUNDS = 1
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


def _parameters() -> list[Any]:
    marked = {name: pytest.mark.requirement(*rows) for name, rows in MARKED.items()}
    return [
        pytest.param(name, marks=[marked[name]] if name in marked else [])
        for name in ATTACKS
        if name != "silence"  # see tests/e2e/test_half_open.py
    ]


@pytest.mark.scale
@pytest.mark.requirement("A1", "A32", "A43")
@pytest.mark.parametrize("name", _parameters())
def test_honest_clients_are_served(
    attacked: Field, standing: Standing, name: str, report: Report
) -> None:
    outcomes = {server.name: Outcome() for server in attacked.servers}
    attacked.rest()
    for _ in range(attacked.scale(reduced=1, full=ROUNDS)):
        for server in attacked.servers:
            carry_out(attacked, server, name, outcomes[server.name])
    assert standing.is_again(attacked.rest())
    numbers = {server: outcome.numbers() for server, outcome in outcomes.items()}
    report(f"{name}, {attacked.answer}", table=table(numbers), **numbers)
    assert outcomes["vestibule"].errors() == []


def carry_out(attacked: Field, server: Server, name: str, outcome: Outcome) -> None:
    """One attack on one server; what it is refused has to be counted."""
    told = COUNTED.get(name, UNBROKEN)
    outcome.phases["before"].append(attacked.measure(server, 0.5))
    known = 0.0 if server.proxy is None else told.of(server.proxy)
    attacked.attack(name, server)
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
