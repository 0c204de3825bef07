"""Pressure begins at the look that sees a threshold reached, and ends after a calm as seen."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.front import Pressure, PressureSettings

SETTINGS = PressureSettings()
NOW = 1000.0
LOOK_S = 0.05


def calm(pressure: Pressure, now: float, seconds: float) -> tuple[bool, float]:
    """Look every 50 ms with nothing going on; whether it ended, and when that was or we stopped."""
    looks = round(seconds / LOOK_S)
    for number in range(1, looks + 1):
        if pressure.look(0, now + number * LOOK_S):
            return True, now + number * LOOK_S
    return False, now + looks * LOOK_S


def entered(now: float = NOW) -> Pressure:
    pressure = Pressure(SETTINGS, now)
    assert pressure.look(SETTINGS.half_open, now)
    return pressure


# --- how it begins -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("half_open", "lag_s", "answered", "abandoned", "reason"),
    [
        (511, 0.0199, 100, 0, ""),
        (512, 0.0, 0, 0, "half_open"),
        (0, 0.02, 100, 0, "lag"),
        # So few hellos have not done it: the machine is busy, or a log is slow.
        (0, 3.0, 99, 0, ""),
        (0, 0.0, 199, 199, ""),
        (0, 0.0, 200, 100, ""),
        (0, 0.0, 200, 101, "abandoned"),
        # Whoever is abandoned now may have been answered more than a second ago.
        (0, 0.0, 200, 5000, "abandoned"),
        (0, 0.0, 0, 5000, ""),
        (512, 0.02, 200, 200, "half_open"),
    ],
)
def test_it_begins_at_the_look_that_finds_a_threshold_reached(
    half_open: int, lag_s: float, answered: int, abandoned: int, reason: str
) -> None:
    pressure = Pressure(SETTINGS, NOW)
    pressure.lagged(lag_s)
    pressure.answered += answered
    pressure.abandoned += abandoned
    assert pressure.look(half_open, NOW) is bool(reason)
    assert (pressure.active, pressure.reason) == (bool(reason), reason)
    assert (pressure.entered, pressure.left) == (int(bool(reason)), 0)
    assert not pressure.look(half_open, NOW)


def test_the_longest_delay_since_the_last_look_counts_once() -> None:
    pressure = Pressure(SETTINGS, NOW)
    pressure.answered += 100
    pressure.lagged(0.019)
    pressure.lagged(0.03)
    pressure.lagged(0.001)
    assert pressure.look(0, NOW)
    assert pressure.reason == "lag"
    assert calm(pressure, NOW, 5.0)[0]


def test_what_was_answered_more_than_a_second_ago_does_not_count() -> None:
    pressure = Pressure(SETTINGS, NOW)
    for number in range(400):
        # 189 in each second, all abandoned; a second is told to within a twentieth.
        pressure.answered += 1
        pressure.abandoned += 1
        assert not pressure.look(0, NOW + number / 189)
    pressure.answered += 10
    pressure.abandoned += 10
    assert pressure.look(0, NOW + 400 / 189)


@pytest.mark.parametrize("gap_s", [0.001, 0.05, 0.07, 0.3, 0.9])
def test_a_second_is_a_second_however_often_somebody_looks(gap_s: float) -> None:
    for later, within in ((int(0.99 / gap_s), True), (int(1.06 / gap_s) + 1, False)):
        pressure = Pressure(SETTINGS, NOW)
        pressure.answered += 199
        pressure.abandoned += 199
        assert not pressure.look(0, NOW)
        for number in range(1, later):
            assert not pressure.look(0, NOW + number * gap_s)
        pressure.answered += 1
        pressure.abandoned += 1
        assert pressure.look(0, NOW + later * gap_s) is within


# --- how it ends -------------------------------------------------------------------------------


def test_it_ends_after_five_calm_seconds_and_begins_again_at_once() -> None:
    pressure = entered()
    ended, now = calm(pressure, NOW, 10.0)
    assert ended
    assert now == pytest.approx(NOW + SETTINGS.calm_s, abs=LOOK_S)
    assert (pressure.active, pressure.entered, pressure.left) == (False, 1, 1)
    # What it was stays to be told.
    assert pressure.reason == "half_open"
    pressure.answered += 100
    pressure.lagged(0.5)
    assert pressure.look(0, now)
    assert (pressure.reason, pressure.entered) == ("lag", 2)


@pytest.mark.parametrize(
    ("half_open", "lag_s", "answered", "abandoned", "over"),
    [
        (511, 0.0099, 0, 0, True),
        (512, 0.0, 0, 0, False),
        (0, 0.01, 100, 0, False),
        (0, 0.01, 99, 0, True),
        (0, 0.0, 100, 25, False),
        (0, 0.0, 100, 24, True),
        # Fewer than half of the answers are too few to judge by.
        (0, 0.0, 99, 99, True),
    ],
)
def test_it_ends_only_with_everything_below_half(
    half_open: int, lag_s: float, answered: int, abandoned: int, over: bool
) -> None:
    pressure = entered()
    _, now = calm(pressure, NOW, SETTINGS.calm_s - 3 * LOOK_S)
    pressure.lagged(lag_s)
    pressure.answered += answered
    pressure.abandoned += abandoned
    assert not pressure.look(half_open, now)
    assert calm(pressure, now, 4 * LOOK_S)[0] is over


def test_a_flood_that_breathes_does_not_switch_it() -> None:
    pressure = entered()
    now = NOW
    for _ in range(10):
        ended, now = calm(pressure, now, SETTINGS.calm_s - LOOK_S)
        assert not ended
        assert not pressure.look(SETTINGS.half_open, now)
    assert pressure.entered == 1
    assert calm(pressure, now, 6.0)[0]


def test_new_thresholds_count_from_the_next_look() -> None:
    pressure = Pressure(SETTINGS, NOW)
    assert not pressure.look(100, NOW)
    pressure.settings = replace(SETTINGS, half_open=100, calm_s=1.0)
    assert pressure.look(100, NOW)
    assert calm(pressure, NOW, 1.0)[0]


# --- time --------------------------------------------------------------------------------------


def test_time_in_which_nobody_looked_is_not_calm() -> None:
    pressure = entered()
    for pause in range(1, 20):
        assert not pressure.look(0, NOW + pause * 1.0)
    assert not calm(pressure, NOW + 19.0, 4.9)[0]
    assert pressure.active


@pytest.mark.parametrize("gap_s", [0.9, 1.0, 3600.0, 1e12, -0.01, -900.0])
def test_what_was_counted_in_a_pause_is_of_its_end(gap_s: float) -> None:
    pressure = Pressure(SETTINGS, NOW)
    assert not pressure.look(0, NOW)
    pressure.answered += 200
    pressure.abandoned += 200
    assert pressure.look(0, NOW + gap_s)
    pressure = Pressure(SETTINGS, NOW)
    pressure.answered += 100
    pressure.abandoned += 100
    assert not pressure.look(0, NOW)
    pressure.answered += 100
    pressure.abandoned += 100
    # Before a pause of a window and more: gone. Of time that went back nothing is known.
    assert pressure.look(0, NOW + gap_s) is (0.0 <= gap_s < 1.0)


@pytest.mark.parametrize("back_to", [0.0, NOW - 0.01])
def test_after_time_went_back_it_judges_on(back_to: float) -> None:
    pressure = entered()
    assert not pressure.look(0, back_to)
    ended, now = calm(pressure, back_to, 6.0)
    assert ended
    assert now - back_to >= SETTINGS.calm_s - LOOK_S
    pressure.answered += 200
    pressure.abandoned += 200
    assert pressure.look(0, now)


def test_time_that_stands_still_ends_nothing_and_hides_nothing() -> None:
    pressure = entered()
    assert not any(pressure.look(0, NOW) for _ in range(1000))
    pressure = Pressure(SETTINGS, NOW)
    for _ in range(199):
        pressure.answered += 1
        pressure.abandoned += 1
        assert not pressure.look(0, NOW)
    pressure.answered += 1
    pressure.abandoned += 1
    assert pressure.look(0, NOW)


def test_counts_beyond_any_word_size_and_late_times_change_nothing() -> None:
    pressure = Pressure(SETTINGS, 1e9)
    pressure.answered = pressure.abandoned = 1 << 80
    assert pressure.look(0, 1e9)
    ended, now = calm(pressure, 1e9, 10.0)
    assert ended
    assert now == pytest.approx(1e9 + 1.05 + SETTINGS.calm_s, abs=0.2)
    pressure.answered += 199
    pressure.abandoned += 199
    assert not pressure.look(0, now)
    pressure.answered += 1
    pressure.abandoned += 1
    assert pressure.look(1 << 80, now)


# --- any course of events ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """What happens from one look to the next."""

    wait_s: float
    half_open: int
    lag_s: float
    answered: int
    abandoned: int


QUIET = st.builds(
    Step,
    wait_s=st.sampled_from([0.0, 0.001, 0.05, 0.05, 0.3, 0.999]),
    half_open=st.integers(0, 255),
    lag_s=st.floats(0.0, 0.0099),
    answered=st.integers(0, 20),
    abandoned=st.integers(0, 2),
)
LOUD = st.builds(
    Step,
    wait_s=st.sampled_from([0.0, 0.01, 0.05, 0.4, 1.0, 7.0]),
    half_open=st.sampled_from([0, 255, 256, 511, 512, 60_000]),
    lag_s=st.sampled_from([0.0, 0.01, 0.02, 3.0]),
    answered=st.integers(0, 150),
    abandoned=st.integers(0, 150),
)
# Single steps hardly ever make five calm seconds: some are repeated.
COURSES = st.lists(
    st.tuples(QUIET | LOUD, st.sampled_from([1, 1, 1, 6, 30, 120])), max_size=25
).map(lambda runs: [step for step, count in runs for _ in range(count)])


@dataclass(slots=True)
class Record:
    """All looks at a course, kept for ever: what the ring of buckets stands for."""

    times: list[float]
    answered: list[int]
    abandoned: list[int]

    def since(self, moment: float) -> tuple[int, int]:
        """Answered and abandoned at looks after the moment."""
        first = bisect_right(self.times, moment)
        return sum(self.answered[first:]), sum(self.abandoned[first:])

    def windows(self) -> list[tuple[int, int]]:
        """What "the last second" may be: a bucket more than that at most."""
        last = self.times[-1]
        moments = [last - 1.05, *(t for t in self.times if last - 1.05 <= t < last - 0.999)]
        return [self.since(moment - 1e-6) for moment in moments] + [
            self.since(moment + 1e-6) for moment in moments
        ]


def is_abandoned(window: tuple[int, int]) -> bool:
    return window[0] >= 200 and window[1] > window[0] / 2


def keeps_busy(window: tuple[int, int]) -> bool:
    return window[0] >= 100 and window[1] >= window[0] / 4


@given(COURSES)
def test_it_agrees_with_a_record_of_everything(course: list[Step]) -> None:
    pressure = Pressure(SETTINGS, NOW)
    record = Record([], [], [])
    now, busy_at = NOW, NOW
    for step in course:
        was_active = pressure.active
        now += step.wait_s
        pressure.lagged(step.lag_s)
        pressure.answered += step.answered
        pressure.abandoned += step.abandoned
        if step.wait_s >= 1.0:
            record, busy_at = Record([], [], []), now  # nobody looked: nothing is known of it
        record.times.append(now)
        record.answered.append(step.answered)
        record.abandoned.append(step.abandoned)
        changed = pressure.look(step.half_open, now)
        assert changed is (pressure.active is not was_active)
        windows = record.windows()
        is_late = step.lag_s >= 0.02
        signs = [is_abandoned(one) or (is_late and one[0] >= 100) for one in windows]
        stays = [keeps_busy(one) or (step.lag_s >= 0.01 and one[0] >= 100) for one in windows]
        if not was_active:
            if step.half_open >= 512 or all(signs):
                assert pressure.active
            elif not any(signs):
                assert not pressure.active
            busy_at = now
        elif step.half_open >= 512 or all(stays):
            assert pressure.active
            busy_at = now
        elif now - busy_at < SETTINGS.calm_s - 1e-6:
            assert pressure.active


@given(COURSES)
def test_between_two_beginnings_lies_a_calm_period(course: list[Step]) -> None:
    pressure = Pressure(SETTINGS, NOW)
    now = NOW
    changes: list[float] = []
    beginnings: list[float] = []
    for step in course:
        now += step.wait_s
        pressure.lagged(step.lag_s)
        pressure.answered += step.answered
        pressure.abandoned += step.abandoned
        if pressure.look(step.half_open, now):
            changes.append(now)
            if pressure.active:
                beginnings.append(now)
    assert pressure.entered == len(beginnings)
    assert pressure.left == len(changes) - len(beginnings)
    assert pressure.entered - pressure.left == pressure.active
    assert all(later - earlier >= SETTINGS.calm_s for earlier, later in pairwise(beginnings))


@given(COURSES, st.integers(0, 255), st.floats(0.0, 0.0099))
def test_whatever_was_before_it_is_over_soon_after_the_last_of_it(
    course: list[Step], half_open: int, lag_s: float
) -> None:
    pressure = Pressure(SETTINGS, NOW)
    now = NOW
    for step in course:
        now += step.wait_s
        pressure.lagged(step.lag_s)
        pressure.answered += step.answered
        pressure.abandoned += step.abandoned
        pressure.look(step.half_open, now)
    was_active, changes = pressure.active, 0
    # The window empties within 1.05 s, then calm counts.
    for number in range(1, round((SETTINGS.calm_s + 1.2) / LOOK_S) + 1):
        pressure.lagged(lag_s)
        changes += pressure.look(half_open, now + number * LOOK_S)
    assert not pressure.active
    # A share can rise once more while the window empties, when those who replied leave it first.
    assert changes == 1 if was_active else changes in (0, 2)
