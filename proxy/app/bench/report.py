"""What was measured as a table for people and as a document for programs. Pure.

Rules: every number stands with its spread, and a ratio only beside a reference of the same run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from proxy.app.bench.figures import Figure
from proxy.app.bench.rotation import Samples

__all__ = ["MEASURES", "Measure", "document", "shown", "table"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number as people read it: less is better in all of them."""

    key: str
    name: str
    """Which of the numbers that a burst of this measure gives."""
    title: str
    unit: str


MEASURES = (
    Measure("hello", "cpu_us", "CPU per abandoned hello", "us"),
    Measure("handshake", "cpu_us", "CPU per whole handshake with a request", "us"),
    Measure("memory", "bytes", "user memory per half-open client", "B"),
    Measure("flood", "p50_ms", "honest client in a flood, median", "ms"),
    Measure("flood", "p99_ms", "honest client in a flood, 99th percentile", "ms"),
)

_HEAD = ("", "SERVER", "MEDIAN", "MIDDLE HALF", "TO NGINX")
_NAME_COLUMNS = 2


def table(samples: Samples, reference: str) -> str:
    """Aligned columns: names to the left, numbers to the right."""
    rows = [_HEAD, *(row for measure in MEASURES for row in _rows(measure, samples, reference))]
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.ljust(width) if column < _NAME_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines) + "\n"


def _rows(measure: Measure, samples: Samples, reference: str) -> Iterator[tuple[str, ...]]:
    title = measure.title
    for subject in samples.subjects(measure.key, measure.name):
        found = samples.figure(measure.key, measure.name, subject)
        if found is None:
            continue
        ratio = None
        if subject != reference:
            ratio = samples.ratio(measure.key, measure.name, subject, reference)
        yield (
            title,
            subject,
            f"{shown(found.median)} {measure.unit}",
            _spread(found),
            "" if ratio is None else f"{shown(ratio.median)} ({_spread(ratio)})",
        )
        title = ""


def shown(value: float) -> str:
    """Three significant digits, five places at most, never an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.5f}"


def _spread(found: Figure) -> str:
    return f"{shown(found.low)}-{shown(found.high)}"


def document(samples: Samples, reference: str, facts: dict[str, Any]) -> dict[str, Any]:
    """All of it, with what each round gave."""
    entries: list[dict[str, Any]] = []
    for measure in MEASURES:
        for subject in samples.subjects(measure.key, measure.name):
            found = samples.figure(measure.key, measure.name, subject)
            ratio = samples.ratio(measure.key, measure.name, subject, reference)
            if found is not None:
                entries.append(
                    {
                        "measure": measure.title,
                        "unit": measure.unit,
                        "server": subject,
                        **asdict(found),
                        "ratio": None if ratio is None else asdict(ratio),
                    }
                )
    return {**facts, "reference": reference, "results": entries, "samples": samples.document()}
