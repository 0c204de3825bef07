"""What to start and to retire, without a process."""

from __future__ import annotations

import pytest

from proxy.app.planner import (
    CRASH_LOOP_DEATHS,
    QUICK_S,
    Actions,
    SlotFacts,
    crash_looping,
    delay_s,
    plan,
)

NOW = 1000.0
BOTH = {"front": 1, "worker": 2}


def test_everything_is_started_at_first_workers_before_fronts() -> None:
    assert plan(BOTH, [], NOW).start == (("worker", 0), ("worker", 1), ("front", 0))


def test_what_runs_is_left_alone() -> None:
    running = [SlotFacts(role, slot, started_at=NOW) for role in BOTH for slot in range(2)][1:]
    assert plan({"front": 2, "worker": 2}, running, NOW).start == (("front", 0),)


def test_what_is_too_many_is_retired_once() -> None:
    slots = [
        SlotFacts("worker", 0, started_at=1.0),
        SlotFacts("worker", 1, started_at=1.0),
        SlotFacts("worker", 2, started_at=1.0, retiring=True),
        SlotFacts("worker", 3),
        SlotFacts("front", 0, started_at=1.0),
    ]
    assert plan({"front": 1, "worker": 1}, slots, NOW) == Actions(retire=(("worker", 1),))


@pytest.mark.parametrize(
    ("quick_deaths", "seconds"),
    [(0, 0.0), (1, 0.0), (2, 0.5), (3, 1.0), (4, 2.0), (5, 4.0), (6, 5.0), (10_000, 5.0)],
)
def test_back_off(quick_deaths: int, seconds: float) -> None:
    assert delay_s(quick_deaths) == seconds


def test_a_death_is_waited_for_until_its_time() -> None:
    slots = [
        SlotFacts("worker", 0, died_at=NOW - 0.5, quick_deaths=3),
        SlotFacts("worker", 1, died_at=NOW - 0.1, quick_deaths=2),
        SlotFacts("front", 0, started_at=1.0),
    ]
    early = plan(BOTH, slots, NOW)
    assert early.start == ()
    assert early.look_again_at == pytest.approx(NOW + 0.4)
    assert plan(BOTH, slots, NOW + 0.4).start == (("worker", 1),)


def test_crash_looping_ends_with_a_child_that_lives() -> None:
    dead = SlotFacts("worker", 0, died_at=NOW, quick_deaths=CRASH_LOOP_DEATHS)
    assert crash_looping(dead, NOW)
    young = SlotFacts("worker", 0, started_at=NOW, quick_deaths=CRASH_LOOP_DEATHS)
    assert crash_looping(young, NOW + QUICK_S - 0.1)
    assert not crash_looping(young, NOW + QUICK_S)
    assert not crash_looping(SlotFacts("worker", 0, quick_deaths=CRASH_LOOP_DEATHS - 1), NOW)
