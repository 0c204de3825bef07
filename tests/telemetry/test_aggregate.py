"""The sum over processes, read back from the text that Prometheus gets."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from proxy.telemetry import (
    FAMILIES,
    Aggregate,
    Family,
    Kind,
    Merge,
    Metrics,
    Snapshot,
    SnapshotError,
)

COUNTER = Family("vestibule_c_total", Kind.COUNTER, "C.", ("a",), limit=3)
SUM = Family("vestibule_sum", Kind.GAUGE, "S.")
MAX = Family("vestibule_max", Kind.GAUGE, "M.", merge=Merge.MAX)
MIN = Family("vestibule_min", Kind.GAUGE, "M.", merge=Merge.MIN)
HISTOGRAM = Family("vestibule_h_seconds", Kind.HISTOGRAM, "H.", ("a",), (0.1, 1.0))
TABLE = (COUNTER, SUM, MAX, MIN, HISTOGRAM)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(aggregate: Aggregate) -> Samples:
    """Name and labels of every sample of the exposition, and its value."""
    text = aggregate.exposition().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def process() -> Metrics:
    return Metrics(TABLE)


def sent(metrics: Metrics) -> Snapshot:
    """The snapshot as it arrives: by way of JSON."""
    snapshot: Snapshot = json.loads(json.dumps(metrics.snapshot()))
    return snapshot


def test_children_are_summed() -> None:
    aggregate = Aggregate(families=TABLE)
    for name, count in (("one", 2), ("two", 5)):
        child = process()
        child.counter("vestibule_c_total", "x").value += count
        child.gauge("vestibule_sum").value = count
        child.gauge("vestibule_max").value = count
        child.gauge("vestibule_min").value = count
        child.histogram("vestibule_h_seconds", "x").observe(count / 10)
        aggregate.update(name, sent(child))
    label = (("a", "x"),)
    assert samples(aggregate) == {
        ("vestibule_c_total", label): 7,
        ("vestibule_sum", ()): 7,
        ("vestibule_max", ()): 5,
        ("vestibule_min", ()): 2,
        ("vestibule_h_seconds_bucket", (("a", "x"), ("le", "0.1"))): 0,
        ("vestibule_h_seconds_bucket", (("a", "x"), ("le", "1.0"))): 2,
        ("vestibule_h_seconds_bucket", (("a", "x"), ("le", "+Inf"))): 2,
        ("vestibule_h_seconds_count", label): 2,
        ("vestibule_h_seconds_sum", label): pytest.approx(0.7),
    }


def test_a_childs_next_snapshot_replaces_its_last() -> None:
    aggregate, child = Aggregate(families=TABLE), process()
    for _ in range(3):
        child.counter("vestibule_c_total", "x").value += 1
        aggregate.update("one", sent(child))
    assert samples(aggregate) == {("vestibule_c_total", (("a", "x"),)): 3}


def test_a_dead_childs_totals_stay_and_its_gauges_go() -> None:
    aggregate, child = Aggregate(families=TABLE), process()
    child.counter("vestibule_c_total", "x").value += 3
    child.histogram("vestibule_h_seconds", "x").observe(0.5)
    child.gauge("vestibule_sum").value = 9
    aggregate.update("one", sent(child))
    before = samples(aggregate)
    aggregate.retire("one")
    aggregate.retire("one")
    after = samples(aggregate)
    assert before.pop(("vestibule_sum", ())) == 9
    assert after == before
    successor = process()
    successor.counter("vestibule_c_total", "x").value += 1
    aggregate.update("two", sent(successor))
    assert samples(aggregate)["vestibule_c_total", (("a", "x"),)] == 4


def test_the_supervisors_own_metrics_are_part_of_it() -> None:
    local, child = process(), process()
    aggregate = Aggregate(local, families=TABLE)
    child.counter("vestibule_c_total", "x").value += 1
    aggregate.update("one", sent(child))
    local.counter("vestibule_c_total", "x").value += 1
    assert samples(aggregate) == {("vestibule_c_total", (("a", "x"),)): 2}
    local.counter("vestibule_c_total", "x").value += 1
    assert samples(aggregate) == {("vestibule_c_total", (("a", "x"),)): 3}


def test_the_deads_label_sets_are_bounded() -> None:
    aggregate = Aggregate(families=TABLE)
    for number in range(10):
        child = process()
        child.counter("vestibule_c_total", str(number)).value += 1
        aggregate.update(str(number), sent(child))
        aggregate.retire(str(number))
    values = samples(aggregate)
    assert len(values) == 4
    assert values["vestibule_c_total", (("a", "other"),)] == 7


@pytest.mark.parametrize(
    "snapshot",
    [
        {"vestibule_unknown": [[[], 1]]},
        {"vestibule_c_total": [[[], 1]]},
        {"vestibule_c_total": [[["a", "b"], 1]]},
        {"vestibule_c_total": [[["a"], "x"]]},
        {"vestibule_c_total": [[["a"], None]]},
        {"vestibule_c_total": [["a"]]},
        {"vestibule_c_total": 7},
        {"vestibule_h_seconds": [[["a"], 1]]},
        {"vestibule_h_seconds": [[["a"], [[1, 2], 0.5]]]},
        {"vestibule_h_seconds": [[["a"], [["x", 1, 2], 0.5]]]},
        [],
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused_whole(snapshot: Snapshot) -> None:
    aggregate, child = Aggregate(families=TABLE), process()
    child.counter("vestibule_c_total", "x").value += 1
    aggregate.update("one", sent(child))
    with pytest.raises(SnapshotError):
        aggregate.update("one", snapshot)
    assert samples(aggregate) == {("vestibule_c_total", (("a", "x"),)): 1}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("xyz"), st.floats(0, 5), st.booleans()),
        max_size=40,
    )
)
def test_whatever_lives_and_dies_the_sums_are_right(
    steps: list[tuple[int, str, float, bool]],
) -> None:
    """Each step a child observes; then it may die and be replaced."""
    aggregate = Aggregate(families=TABLE)
    lives = dict.fromkeys(range(4), 0)
    children = {slot: process() for slot in range(4)}
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, float] = defaultdict(float)
    for slot, label, value, dies in steps:
        child = children[slot]
        child.counter("vestibule_c_total", label).value += 1
        child.histogram("vestibule_h_seconds", label).observe(value)
        counts[label] += 1
        sums[label] += value
        name = f"{slot}-{lives[slot]}"
        aggregate.update(name, sent(child))
        if dies:
            aggregate.retire(name)
            lives[slot] += 1
            children[slot] = process()
    values = samples(aggregate)
    for label, count in counts.items():
        key = (("a", label),)
        assert values["vestibule_c_total", key] == count
        assert values["vestibule_h_seconds_count", key] == count
        assert values["vestibule_h_seconds_sum", key] == pytest.approx(sums[label])


def test_the_whole_table_is_exposed() -> None:
    metrics = Metrics()
    for family in FAMILIES:
        labels = family.labels
        match family.kind:
            case Kind.COUNTER:
                metrics.counter(family.name, *labels).value += 1
            case Kind.GAUGE:
                metrics.gauge(family.name, *labels).value = 1
            case Kind.HISTOGRAM:
                metrics.histogram(family.name, *labels).observe(1)
    text = Aggregate(metrics).exposition().decode()
    exposed = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(exposed) == len(FAMILIES)
    for family in FAMILIES:
        found = exposed[family.name.removesuffix("_total")]
        assert (found.type, found.documentation) == (family.kind.value, family.help)
        assert found.samples[0].labels.keys() - {"le"} == set(family.labels)


def test_label_values_are_escaped() -> None:
    metrics = process()
    value = 'quote " backslash \\ line\nend'
    metrics.counter("vestibule_c_total", value).value += 1
    aggregate = Aggregate(metrics, families=TABLE)
    assert samples(aggregate) == {("vestibule_c_total", (("a", value),)): 1}
