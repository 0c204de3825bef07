"""The sum over all processes, as Prometheus sees it.

Owns the last snapshot of each child and the totals of the dead. Rules: a counter or histogram
never goes backwards because a process died; a gauge vanishes with its process; a snapshot that
does not fit the table (a child of another version, a bug) is refused whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from proxy.telemetry.families import FAMILIES, Family, Kind, Merge
from proxy.telemetry.metrics import OTHER, Metrics, Snapshot

__all__ = ["Aggregate", "SnapshotError"]

_Labels: TypeAlias = tuple[str, ...]
_Histogram: TypeAlias = tuple[tuple[int, ...], float]
_Samples: TypeAlias = dict[_Labels, Any]
_Table: TypeAlias = dict[str, _Samples]
"""Per family and label set: a number, or a histogram's counts and sum."""

_MERGE = {Merge.MAX: max, Merge.MIN: min}


class SnapshotError(Exception):
    """A snapshot does not fit the table of families."""


class Aggregate(Collector):
    """Sums the snapshots of children, and of this process' own metrics."""

    def __init__(self, local: Metrics | None = None, families: Iterable[Family] = FAMILIES) -> None:
        self._families = {family.name: family for family in families}
        self._local = local
        self._children: dict[str, _Table] = {}
        self._dead: _Table = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def update(self, child: str, snapshot: Snapshot) -> None:
        """Replace a child's numbers. `child` names one life of a process, so not the slot alone.

        Raises SnapshotError, and keeps what was known.
        """
        self._children[child] = self._parsed(snapshot)

    def retire(self, child: str) -> None:
        """The child has died: keep what it counted, forget its gauges."""
        for name, samples in self._children.pop(child, {}).items():
            family = self._families[name]
            if family.kind is not Kind.GAUGE:
                dead = self._dead.setdefault(name, {})
                for labels, value in samples.items():
                    _add(family, dead, _bounded(family, dead, labels), value)

    def describe(self) -> Iterator[Metric]:
        """The families without samples, for the registry's check of names."""
        return (_metric(family, {}) for family in self._families.values())

    def collect(self) -> Iterator[Metric]:
        """Every family with the sums of now."""
        tables = [self._dead, *self._children.values()]
        if self._local is not None:
            tables.append(self._parsed(self._local.snapshot()))
        for name, family in self._families.items():
            merged: _Samples = {}
            for table in tables:
                for labels, value in table.get(name, {}).items():
                    _add(family, merged, labels, value)
            yield _metric(family, merged)

    def exposition(self) -> bytes:
        """The text a scrape is answered with; its type is prometheus_client's."""
        return generate_latest(self._registry)

    def _parsed(self, snapshot: Snapshot) -> _Table:
        try:
            return {
                name: _parsed_family(self._families[name], rows) for name, rows in snapshot.items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SnapshotError(f"unreadable snapshot: {error!r}") from error


def _parsed_family(family: Family, rows: Iterable[Any]) -> _Samples:
    samples: _Samples = {}
    for labels, value in rows:
        key = tuple(str(label) for label in labels)
        if len(key) != len(family.labels):
            raise ValueError(f"{family.name} with labels {key}")
        samples[key] = _histogram(family, value) if family.buckets else float(value)
    return samples


def _histogram(family: Family, value: Any) -> _Histogram:
    counts, total = value
    if len(counts) != len(family.buckets) + 1:
        raise ValueError(f"{family.name} with {len(counts)} buckets")
    return tuple(int(count) for count in counts), float(total)


def _bounded(family: Family, samples: Mapping[_Labels, Any], labels: _Labels) -> _Labels:
    """Restarts must not add label sets without end either."""
    if labels in samples or len(samples) < family.limit:
        return labels
    return (OTHER,) * len(labels)


def _add(family: Family, samples: _Samples, labels: _Labels, value: Any) -> None:
    known = samples.get(labels)
    if known is None:
        samples[labels] = value
    elif family.kind is Kind.HISTOGRAM:
        counts = tuple(a + b for a, b in zip(known[0], value[0], strict=True))
        samples[labels] = (counts, known[1] + value[1])
    elif family.kind is Kind.GAUGE and family.merge is not Merge.SUM:
        samples[labels] = _MERGE[family.merge](known, value)
    else:
        samples[labels] = known + value


def _metric(family: Family, samples: Mapping[_Labels, Any]) -> Metric:
    if family.kind is Kind.COUNTER:
        counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
        for labels, value in samples.items():
            counter.add_metric(labels, value)
        return counter
    if family.kind is Kind.GAUGE:
        gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
        for labels, value in samples.items():
            gauge.add_metric(labels, value)
        return gauge
    histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, (counts, total) in samples.items():
        histogram.add_metric(labels, _cumulative(family.buckets, counts), total)
    return histogram


def _cumulative(bounds: tuple[float, ...], counts: tuple[int, ...]) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
