"""Goals against numbers."""

from __future__ import annotations

import pytest

from proxy.app.bench.rotation import Case, Samples
from tests.bench.cases import GROUPS
from tests.bench.goals import GOALS, QUANTITIES, Goal
from tests.bench.peers import NGINX

RATIO = Goal("CPU per hello", "hello", "cpu_us", "ours", 0.5)
NUMBER = Goal("memory", "memory", "user_bytes", "ours", 350, "B")
SLOPE = Goal("slope", "scaling", "slope", "ours", 0.05, "slope")


def samples(measure: str, name: str, **values: tuple[float, ...]) -> Samples:
    found = Samples()
    for subject, rounds in values.items():
        for number, value in enumerate(rounds):
            found.add(number, Case(measure, subject, dict), {name: value})
    return found


@pytest.mark.parametrize(
    ("ours", "met", "text"),
    [
        ((40, 50, 1000), True, "met"),
        ((40, 51, 51), False, "missed by a factor of 1.02"),
        ((200, 100, 100), False, "missed by a factor of 2.00"),
    ],
)
def test_a_ratio_is_met_by_its_median(ours: tuple[float, ...], met: bool, text: str) -> None:
    verdict = RATIO.judged(samples("hello", "cpu_us", nginx=(100, 100, 100), ours=ours))
    assert (verdict.met, verdict.text) == (met, text)


def test_a_number_is_met_by_itself() -> None:
    assert NUMBER.judged(samples("memory", "user_bytes", ours=(350,))).met
    verdict = NUMBER.judged(samples("memory", "user_bytes", ours=(700,)))
    assert verdict.text == "missed by a factor of 2.00"


def test_a_slope_is_missed_by_a_difference() -> None:
    assert SLOPE.judged(samples("scaling", "slope", ours=(-0.2,))).met
    assert SLOPE.judged(samples("scaling", "slope", ours=(0.15,))).text == "missed by 0.100"


@pytest.mark.parametrize("values", [{}, {"nginx": (1,)}, {"ours": (1,)}])
def test_what_was_not_measured_is_open(values: dict[str, tuple[float, ...]]) -> None:
    verdict = RATIO.judged(samples("hello", "cpu_us", **values))
    assert (verdict.met, verdict.text) == (None, "not measured")


def test_every_goal_is_about_a_quantity_that_is_shown() -> None:
    shown = {(one.measure, one.name) for one in QUANTITIES}
    assert {(goal.measure, goal.name) for goal in GOALS} <= shown
    assert not any(goal.subject == NGINX for goal in GOALS)


def test_quantities_and_goals_are_told_apart() -> None:
    assert len({one.title for one in QUANTITIES}) == len(QUANTITIES)
    assert len({(goal.title, goal.subject) for goal in GOALS}) == len(GOALS)


def test_every_measure_has_a_title() -> None:
    beginnings = tuple(GROUPS)
    for one in QUANTITIES:
        assert one.measure.startswith((*beginnings, "memory", "scaling")), one
