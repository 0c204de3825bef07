"""What an attack came to: the figures of honest clients before, during and after it, as a table.

Rules: of several rounds the median is shown; what the attack cost the server stands beside what
its honest clients felt; a server that was not attacked in a phase has no figure there.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tests.e2e.attacks.driver import Counts
from tests.e2e.attacks.field import Phase

__all__ = ["PHASES", "Outcome", "table"]

PHASES = ("before", "during", "after")

_NUMBERS = ("handshake_p50_ms", "handshake_p99_ms", "request_p50_ms", "request_p99_ms", "cores")

Row = Mapping[str, float]


@dataclass
class Outcome:
    """What several rounds against one server came to."""

    phases: dict[str, list[Phase]] = field(default_factory=lambda: {name: [] for name in PHASES})
    counts: list[Counts] = field(default_factory=list)
    attacked: str = "during"
    """The phase that the counts are of."""

    def errors(self) -> list[str]:
        """Of its honest clients."""
        return [error for phase in self.phases for error in self._errors(phase)]

    def numbers(self) -> dict[str, Row]:
        """By phase."""
        found = {name: _medians(rounds) for name, rounds in self.phases.items() if rounds}
        for name, numbers in found.items():
            numbers["errors"] = len(self._errors(name))
        if self.counts:
            seconds = sum(one.seconds for one in self.counts)
            found[self.attacked] |= {
                "attackers_per_s": round(sum(one.opened for one in self.counts) / seconds, 1),
                "attackers_mb_per_s": round(
                    sum(one.sent_bytes for one in self.counts) / seconds / 1e6, 3
                ),
            }
        return dict(found)

    def _errors(self, phase: str) -> list[str]:
        return [error for one in self.phases[phase] for error in one.figures.errors]


def _medians(rounds: Iterable[Phase]) -> dict[str, float]:
    found = [{**asdict(one.figures), "cores": one.cores} for one in rounds]
    return {name: round(statistics.median(one[name] for one in found), 3) for name in _NUMBERS}


def table(numbers: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """Of each server, by name, what its phases came to: a line for each kind of figure."""
    phases = list(dict.fromkeys(phase for by_phase in numbers.values() for phase in by_phase))
    lines = [["", *phases]]
    for server, by_phase in numbers.items():
        lines += [
            [f"{server}: {title}", *(_cell(by_phase.get(phase, {}), names) for phase in phases)]
            for title, names in _LINES.items()
        ]
    return _aligned([line for line in lines if line is lines[0] or any(line[1:])])


_LINES = {
    "handshake and request, p50 / p99 ms": ("handshake_p50_ms", "handshake_p99_ms"),
    "established request, p50 / p99 ms": ("request_p50_ms", "request_p99_ms"),
    "failed honest clients": ("errors",),
    "cores used": ("cores",),
    "attackers a second, MB a second": ("attackers_per_s", "attackers_mb_per_s"),
}


def _cell(row: Row, names: Sequence[str]) -> str:
    return " / ".join(_shown(row[name]) for name in names if name in row)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
