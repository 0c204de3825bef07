"""Runs measurements in rotation and keeps what they gave.

Rules: all servers take turns within a measure before the next measure begins, each round starts
with another server, and rounds repeat the whole; so whatever else the machine does falls on all of
them alike. A measurement that fails leaves a gap and a remark, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.app.bench.figures import Figure, figure, ratios

__all__ = ["BurstFailed", "Case", "Samples", "rotate"]


class BurstFailed(Exception):
    """A measurement gave no usable number; the text says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement of one server; `run` gives numbers by name."""

    measure: str
    subject: str
    run: Callable[[], Mapping[str, float]]


@dataclass(slots=True)
class Samples:
    """Everything measured so far: by measure, name of the number, and server; one value a round."""

    numbers: dict[str, dict[str, dict[str, list[float | None]]]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, number: int, case: Case, numbers: Mapping[str, float]) -> None:
        """Keep what a case gave in a round, counted from 0."""
        for name, value in numbers.items():
            by_subject = self.numbers.setdefault(case.measure, {}).setdefault(name, {})
            rounds = by_subject.setdefault(case.subject, [])
            rounds += [None] * (number + 1 - len(rounds))
            rounds[number] = value

    def remark(self, number: int, case: Case, text: str) -> None:
        """Note that a case gave nothing in a round."""
        self.remarks.append(f"{case.measure}, {case.subject}, round {number + 1}: {text}")

    def rounds(self, measure: str, name: str, subject: str) -> Sequence[float | None]:
        """One value per round; empty where nothing was measured."""
        return self.numbers.get(measure, {}).get(name, {}).get(subject, [])

    def subjects(self, measure: str, name: str) -> list[str]:
        """The servers measured, in the order of their first number."""
        return list(self.numbers.get(measure, {}).get(name, {}))

    def figure(self, measure: str, name: str, subject: str) -> Figure | None:
        """The number itself."""
        return figure(self.rounds(measure, name, subject))

    def ratio(self, measure: str, name: str, subject: str, reference: str) -> Figure | None:
        """The number in relation to another server's in the same round."""
        ours = self.rounds(measure, name, subject)
        return figure(ratios(ours, self.rounds(measure, name, reference)))

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {"numbers": self.numbers, "remarks": self.remarks}


def rotate(
    cases: Sequence[Case], rounds: int, samples: Samples, step: Callable[[Case], None]
) -> None:
    """Run all cases `rounds` times; `step` is told before each."""
    for number in range(rounds):
        for case in _order(cases, number):
            step(case)
            try:
                samples.add(number, case, case.run())
            except BurstFailed as error:
                samples.remark(number, case, str(error))


def _order(cases: Sequence[Case], number: int) -> Iterator[Case]:
    for measure in dict.fromkeys(case.measure for case in cases):
        group = [case for case in cases if case.measure == measure]
        first = number % len(group)
        yield from group[first:] + group[:first]
