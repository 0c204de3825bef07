"""What one process counts.

Owns its cells: one per family and label set. Rules: counting is one addition to a plain number
(`cell.value += 1`), so a hot path asks for its cells once and keeps them; label sets are bounded,
whatever peers send; a snapshot is plain JSON data, to be summed elsewhere. Used from one thread;
cells that other threads add to must have those threads as their only writers.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from proxy.telemetry.families import FAMILIES, Family, Kind

__all__ = ["OTHER", "Counter", "Gauge", "Histogram", "Metrics", "Snapshot"]

OTHER = "other"
"""The label value of what came after the limit of a family's label sets."""

Snapshot: TypeAlias = dict[str, list[list[Any]]]
"""Per family name its samples: [[label values], value], where a histogram's value is
[[count per bucket, +Inf last], sum]."""

Labels: TypeAlias = tuple[str, ...]


class Counter:
    """Add to `value`; never subtract."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Gauge:
    """Set `value` to what is."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Histogram:
    """Observations by bucket."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value, in the family's unit. Bounds are inclusive, as Prometheus' `le` is."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class _Function:
    """A counter or gauge that is asked at snapshot time."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], float]) -> None:
        self.function = function


_Cell: TypeAlias = Counter | Gauge | Histogram | _Function


class Metrics:
    """The metrics of this process. Raises ValueError where code and table disagree."""

    def __init__(self, families: Iterable[Family] = FAMILIES) -> None:
        self._families = {family.name: family for family in families}
        self._cells: dict[str, dict[Labels, _Cell]] = {name: {} for name in self._families}

    def counter(self, name: str, *labels: str) -> Counter:
        """The counter of this label set; keep it where it is used often."""
        cell = self._cell(name, Kind.COUNTER, labels, Counter)
        if not isinstance(cell, Counter):
            raise ValueError(f"{name} of {labels} is computed by a function")
        return cell

    def gauge(self, name: str, *labels: str) -> Gauge:
        """The gauge of this label set."""
        cell = self._cell(name, Kind.GAUGE, labels, Gauge)
        if not isinstance(cell, Gauge):
            raise ValueError(f"{name} of {labels} is computed by a function")
        return cell

    def histogram(self, name: str, *labels: str) -> Histogram:
        """The histogram of this label set."""
        bounds = self._family(name, Kind.HISTOGRAM, labels).buckets
        cell = self._cell(name, Kind.HISTOGRAM, labels, lambda: Histogram(bounds))
        if not isinstance(cell, Histogram):
            raise ValueError(f"{name} is no histogram")
        return cell

    def counter_function(self, name: str, function: Callable[[], float], *labels: str) -> None:
        """Ask `function` for this counter at every snapshot; replaces an earlier one."""
        self._compute(name, Kind.COUNTER, function, labels)

    def gauge_function(self, name: str, function: Callable[[], float], *labels: str) -> None:
        """Ask `function` for this gauge at every snapshot; replaces an earlier one."""
        self._compute(name, Kind.GAUGE, function, labels)

    def clear(self, name: str) -> None:
        """Forget every label set of a gauge family: what it described is configured anew."""
        if self._families[name].kind is not Kind.GAUGE:
            raise ValueError(f"{name} must not go backwards")
        self._cells[name].clear()

    def snapshot(self) -> Snapshot:
        """Every cell's value now, as JSON-able data."""
        samples: Snapshot = {}
        for name, cells in self._cells.items():
            rows = []
            for labels, cell in list(cells.items()):
                value = self._value(name, cell)
                if value is not None:
                    rows.append([list(labels), value])
            if rows:
                samples[name] = rows
        return samples

    def _value(self, name: str, cell: _Cell) -> float | list[Any] | None:
        if isinstance(cell, Histogram):
            return [list(cell.counts), cell.sum]
        if not isinstance(cell, _Function):
            return cell.value
        try:
            value = float(cell.function())
        except Exception:
            # One broken gauge must not cost the operator all the others.
            self.counter("vestibule_metric_errors_total", name).value += 1
            return None
        return value if math.isfinite(value) else None

    def _family(self, name: str, kind: Kind, labels: Labels) -> Family:
        family = self._families.get(name)
        if family is None or family.kind is not kind:
            raise ValueError(f"there is no {kind.value} {name}")
        if len(labels) != len(family.labels):
            raise ValueError(f"{name} has the labels {family.labels}, not {labels}")
        return family

    def _cell(self, name: str, kind: Kind, labels: Labels, create: Callable[[], _Cell]) -> _Cell:
        family = self._family(name, kind, labels)
        cells = self._cells[name]
        cell = cells.get(labels)
        if cell is None:
            if len(cells) >= family.limit and labels:
                labels = (OTHER,) * len(labels)
            cell = cells.setdefault(labels, create())
        return cell

    def _compute(
        self, name: str, kind: Kind, function: Callable[[], float], labels: Labels
    ) -> None:
        family = self._family(name, kind, labels)
        cells = self._cells[name]
        if labels not in cells and len(cells) >= family.limit and labels:
            labels = (OTHER,) * len(labels)
        cells[labels] = _Function(function)
