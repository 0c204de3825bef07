"""Medians, spreads and ratios of measured numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.app.bench.figures import Figure, figure, log_log_slope, percentile, ratios


def test_a_figure_is_the_median_with_its_quartiles() -> None:
    assert figure([5, 1, 3, 2, 4]) == Figure(3, 2, 4, 5)


def test_rounds_that_gave_nothing_do_not_count() -> None:
    assert figure([None, 2.0, None]) == Figure(2, 2, 2, 1)
    assert figure([None]) is None
    assert figure([]) is None


def test_one_disturbed_round_does_not_move_it() -> None:
    assert figure([10, 11, 12, 13, 900]) == Figure(12, 11, 13, 5)


def test_ratios_are_taken_within_rounds() -> None:
    # The machine was twice as slow in the second round, for both.
    assert ratios([10, 20], [20, 40]) == [0.5, 0.5]


def test_a_round_that_one_side_lacks_has_no_ratio() -> None:
    assert ratios([1, None, 3, 4], [2, 2, None]) == [0.5, None, None]
    assert ratios([1.0], [0.0]) == [None]


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1), (1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)]
)
def test_percentiles(percent: float, value: float) -> None:
    assert percentile(range(1, 101), percent) == value


def test_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@given(
    st.floats(-2, 2),
    st.floats(0.01, 1000),
    st.lists(st.integers(1, 10**6), min_size=2, unique=True),
)
def test_the_slope_of_a_power_law_is_its_exponent(
    exponent: float, factor: float, xs: list[int]
) -> None:
    ys = [factor * x**exponent for x in xs]
    assert log_log_slope(xs, ys) == pytest.approx(exponent, abs=1e-3)
