"""The table that a person reads: every figure in its phase, and none that was not measured."""

from __future__ import annotations

from tests.e2e.attacks.driver import Counts
from tests.e2e.attacks.field import Phase
from tests.e2e.attacks.outcome import Outcome, table
from tests.e2e.attacks.victims import Figures


def phase(milliseconds: float, *errors: str) -> Phase:
    """Everything took so long."""
    return Phase(Figures(10, 40, list(errors), *[milliseconds] * 4), cores=0.25)


def test_each_phase_has_its_figures_and_who_was_attacked_the_attackers() -> None:
    outcome = Outcome(
        {
            "before": [phase(1)],
            "during": [phase(1500), phase(2500, "reset"), phase(4500, "reset", "late")],
            "after": [],
        },
        [Counts(opened=300, sent_bytes=3_000_000, seconds=2.0), Counts(opened=100, seconds=2.0)],
    )
    assert outcome.errors() == ["reset", "reset", "late"]
    numbers = outcome.numbers()
    assert numbers["during"]["handshake_p99_ms"] == 2500
    assert table({"ours": numbers}) == [
        "                                           before         during",
        "ours: handshake and request, p50 / p99 ms   1 / 1  2,500 / 2,500",
        "ours: established request, p50 / p99 ms     1 / 1  2,500 / 2,500",
        "ours: failed honest clients                     0              3",
        "ours: cores used                             0.25           0.25",
        "ours: attackers a second, MB a second                 100 / 0.75",
    ]
