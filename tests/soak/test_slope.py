"""What counts as growth: a line through noise, waves and outliers."""

from __future__ import annotations

import math

import pytest

from tests.soak.samples import QUANTITIES, Series
from tests.soak.slope import BOUNDS, Bound, trend

EVERY_S = 5.0
BOUND = Bound(100)


def series(*values: float) -> Series:
    """Looked at every five seconds."""
    return Series([EVERY_S * number for number in range(len(values))], list(values))


@pytest.mark.parametrize("count", [181, 1000])
def test_a_leak_is_found(count: int) -> None:
    # Two a minute, under waves that are larger than what it comes to in a quarter of an hour.
    found = trend(
        series(*(1000 + number / 6 + 40 * math.sin(number / 5) for number in range(count))), BOUND
    )
    assert found.per_hour == pytest.approx(120, rel=0.2)
    assert found.gained == pytest.approx(120 * EVERY_S * (count - 1) / 3600, rel=0.2)
    assert found.is_bounded == (count == 181)


def test_what_grows_beyond_its_bound_is_told() -> None:
    assert not trend(series(*range(0, 2000, 10)), BOUND).is_bounded
    assert trend(series(*range(2000, 0, -10)), BOUND).is_bounded


@pytest.mark.parametrize("at", [0, 50, 99])
def test_an_outlier_bends_nothing(at: int) -> None:
    values = [500.0] * 100
    values[at] = 1e6
    found = trend(series(*values), BOUND)
    assert (found.per_hour, found.median) == (0, 500)


def test_one_look_is_no_trend() -> None:
    assert trend(series(7), BOUND).gained == 0


def test_a_bound_is_a_number_or_a_share() -> None:
    assert Bound(10, 0.05).of(100) == 10
    assert Bound(10, 0.05).of(1000) == 50


def test_everything_that_is_looked_at_has_a_bound() -> None:
    assert BOUNDS.keys() == QUANTITIES.keys()


def test_the_time_to_warm_up_is_left_out() -> None:
    later = series(1, 2, 3, 4).since(2 * EVERY_S)
    assert (later.seconds, later.values) == ([10, 15], [3, 4])
