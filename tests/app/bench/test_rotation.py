"""Who is measured when, and what is kept of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from proxy.app.bench.figures import Figure
from proxy.app.bench.rotation import BurstFailed, Case, Samples, rotate


class Recorded:
    """Cases that note their turn and give numbers that rise from turn to turn."""

    def __init__(self) -> None:
        self.turns: list[str] = []
        self._numbers = itertools.count(1)

    def case(self, measure: str, subject: str) -> Case:
        def run() -> Mapping[str, float]:
            self.turns.append(f"{measure}/{subject}")
            return {"cpu_us": next(self._numbers)}

        return Case(measure, subject, run)

    def run(self, *cases: Case, rounds: int) -> Samples:
        samples = Samples()
        rotate(cases, rounds, samples, lambda _: None)
        return samples


def test_servers_take_turns_within_a_measure_and_another_begins_each_round() -> None:
    seen = Recorded()
    cases = [seen.case(measure, subject) for measure in "mn" for subject in "abc"]
    seen.run(*cases, rounds=3)
    assert seen.turns == [
        *("m/a", "m/b", "m/c", "n/a", "n/b", "n/c"),
        *("m/b", "m/c", "m/a", "n/b", "n/c", "n/a"),
        *("m/c", "m/a", "m/b", "n/c", "n/a", "n/b"),
    ]


def test_numbers_stand_by_measure_name_and_server_in_the_order_of_rounds() -> None:
    seen = Recorded()
    samples = seen.run(seen.case("m", "a"), seen.case("m", "b"), rounds=2)
    assert samples.rounds("m", "cpu_us", "a") == [1, 4]
    assert samples.rounds("m", "cpu_us", "b") == [2, 3]
    assert samples.subjects("m", "cpu_us") == ["a", "b"]
    assert samples.rounds("m", "cpu_us", "c") == []


def test_a_ratio_pairs_the_rounds() -> None:
    seen = Recorded()
    samples = seen.run(seen.case("m", "a"), seen.case("m", "b"), rounds=2)
    ratio = samples.ratio("m", "cpu_us", "b", "a")
    assert ratio == Figure(1.375, 1.0625, 1.6875, 2)  # 2/1 and 3/4


def test_a_failure_leaves_a_gap_and_a_remark_and_the_others_go_on() -> None:
    seen, attempts = Recorded(), itertools.count()

    def second_time_only() -> Mapping[str, float]:
        if next(attempts) == 0:
            raise BurstFailed("12 of 100 clients failed")
        return {"cpu_us": 6.0}

    samples = seen.run(Case("m", "a", second_time_only), seen.case("m", "b"), rounds=2)
    assert samples.rounds("m", "cpu_us", "a") == [None, 6.0]
    assert samples.rounds("m", "cpu_us", "b") == [1, 2]
    assert samples.remarks == ["m, a, round 1: 12 of 100 clients failed"]
    assert samples.ratio("m", "cpu_us", "a", "b") == Figure(3, 3, 3, 1)


def test_each_step_is_told_before_it_runs() -> None:
    seen = Recorded()
    told: list[tuple[str, int]] = []
    cases = [seen.case("m", "a"), seen.case("m", "b")]
    rotate(cases, 1, Samples(), lambda case: told.append((case.subject, len(seen.turns))))
    assert told == [("a", 0), ("b", 1)]
