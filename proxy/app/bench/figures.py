"""Numbers out of repeated measurements: medians with their spread, ratios, percentiles. Pure.

Rules: a ratio is taken within one round, where both sides saw the same machine, and only then is
the median taken over rounds; the spread is the middle half, which one disturbed round cannot move.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Figure", "figure", "log_log_slope", "percentile", "ratios"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number: its median, its quartiles, and how many rounds it comes from."""

    median: float
    low: float
    high: float
    rounds: int


def figure(values: Sequence[float | None]) -> Figure | None:
    """Sum up the rounds that gave a number; None where none did."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    if len(known) == 1:
        return Figure(known[0], known[0], known[0], 1)
    low, median, high = statistics.quantiles(known, n=4, method="inclusive")
    return Figure(median, low, high, len(known))


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float | None]:
    """One number per round that both sides have; None for the others."""
    return [
        None if one is None or not other else one / other
        for one, other in zip(ours, theirs, strict=False)
    ]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that this share of the ascending values does not exceed."""
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def log_log_slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Exponent k of the power law y = c * x**k that fits best; 0 is flat, 1 proportional."""
    return statistics.linear_regression([math.log(x) for x in xs], [math.log(y) for y in ys]).slope
