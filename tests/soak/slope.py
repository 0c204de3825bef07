"""Whether a series grows: a line through it that outliers do not bend, and the bound for it. Pure.

Rule: the bound is on what was gained over the time that was looked at, not on the slope alone: of a
short time a steep slope may be chance, and a leak shows the more the longer it lasts.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from tests.soak.samples import Series

__all__ = ["BOUNDS", "Bound", "Trend", "trend"]

_MOST_POINTS = 400
"""Of longer series every other point, and so on: the pairs grow with the square."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How much a quantity may gain: a number, or a share of its median, whichever is more."""

    number: float
    share: float = 0.0

    def of(self, median: float) -> float:
        """For a series of this median."""
        return max(self.number, self.share * median)


BOUNDS = {
    # The allocator gives pages back late, and waves differ.
    "memory": Bound(4096, 0.05),
    # Pools of connections to backends, which follow the load.
    "descriptors": Bound(16),
    "threads": Bound(1),
    # What attackers hold at the moment: waves come and go, their middle must not rise.
    "half_open": Bound(100),
    "table_bytes": Bound(100 * 512),
    "connections": Bound(100),
    "tasks": Bound(100),
}


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through a series."""

    median: float
    per_hour: float
    gained: float
    """By the line, from the first point to the last."""
    bound: float

    @property
    def is_bounded(self) -> bool:
        """Whether it has grown no more than it may."""
        return self.gained <= self.bound


def trend(series: Series, bound: Bound) -> Trend:
    """The line whose slope is the median of those between all pairs of points (Theil and Sen)."""
    median = statistics.median(series.values)
    step = -(-len(series.values) // _MOST_POINTS)
    points = list(zip(series.seconds, series.values, strict=True))[::step]
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, earlier in enumerate(points)
        for later in points[number + 1 :]
    ]
    per_s = statistics.median(slopes) if slopes else 0.0
    lasted_s = series.seconds[-1] - series.seconds[0]
    return Trend(median, 3600 * per_s, per_s * lasted_s, bound.of(median))
