"""Counting in one process."""

from __future__ import annotations

import json

import pytest

from proxy.telemetry import FAMILIES, Family, Kind, Metrics

COUNTER = Family("vestibule_c_total", Kind.COUNTER, "C.", ("a", "b"), limit=3)
GAUGE = Family("vestibule_g", Kind.GAUGE, "G.")
LABELLED = Family("vestibule_l", Kind.GAUGE, "L.", ("x",), limit=2)
HISTOGRAM = Family("vestibule_h_seconds", Kind.HISTOGRAM, "H.", (), (0.1, 1.0))
ERRORS = next(f for f in FAMILIES if f.name == "vestibule_metric_errors_total")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics((COUNTER, GAUGE, LABELLED, HISTOGRAM, ERRORS))


def test_a_label_set_has_one_cell(metrics: Metrics) -> None:
    cell = metrics.counter("vestibule_c_total", "1", "2")
    cell.value += 1
    metrics.counter("vestibule_c_total", "1", "2").value += 2
    metrics.counter("vestibule_c_total", "2", "1").value += 5
    assert metrics.snapshot() == {"vestibule_c_total": [[["1", "2"], 3], [["2", "1"], 5]]}


def test_label_sets_are_bounded(metrics: Metrics) -> None:
    for number in range(10):
        metrics.counter("vestibule_c_total", str(number), "x").value += 1
    assert metrics.snapshot()["vestibule_c_total"] == [
        [["0", "x"], 1],
        [["1", "x"], 1],
        [["2", "x"], 1],
        [["other", "other"], 7],
    ]


def test_functions_are_bounded_as_well(metrics: Metrics) -> None:
    for number in range(5):
        metrics.gauge_function("vestibule_l", lambda: 1, str(number))
    assert len(metrics.snapshot()["vestibule_l"]) == 3


def test_a_gauge_is_what_it_was_set_to(metrics: Metrics) -> None:
    metrics.gauge("vestibule_g").value = 5
    metrics.gauge("vestibule_g").value -= 2
    assert metrics.snapshot() == {"vestibule_g": [[[], 3]]}


def test_a_function_is_asked_at_each_snapshot(metrics: Metrics) -> None:
    values = [1.0, 2.0]
    metrics.gauge_function("vestibule_g", lambda: values.pop(0))
    metrics.counter_function("vestibule_c_total", lambda: 7, "a", "b")
    expected = [[["a", "b"], 7.0]]
    assert metrics.snapshot() == {"vestibule_g": [[[], 1.0]], "vestibule_c_total": expected}
    assert metrics.snapshot() == {"vestibule_g": [[[], 2.0]], "vestibule_c_total": expected}


def test_a_broken_function_costs_only_itself(metrics: Metrics) -> None:
    metrics.gauge_function("vestibule_g", lambda: 1 / 0)
    metrics.gauge_function("vestibule_l", lambda: float("nan"), "nan")
    metrics.counter("vestibule_c_total", "a", "b").value += 1
    first = metrics.snapshot()
    assert first.keys() == {"vestibule_c_total", "vestibule_metric_errors_total"}
    assert first["vestibule_metric_errors_total"] == [[["vestibule_g"], 1]]


@pytest.mark.parametrize(
    ("value", "bucket"), [(0.0, 0), (0.1, 0), (0.10001, 1), (1.0, 1), (1.1, 2), (99.0, 2)]
)
def test_a_histograms_bounds_are_inclusive(metrics: Metrics, value: float, bucket: int) -> None:
    metrics.histogram("vestibule_h_seconds").observe(value)
    counts = [0, 0, 0]
    counts[bucket] = 1
    assert metrics.snapshot() == {"vestibule_h_seconds": [[[], [counts, value]]]}


def test_a_snapshot_does_not_change_later(metrics: Metrics) -> None:
    histogram = metrics.histogram("vestibule_h_seconds")
    histogram.observe(1)
    before = metrics.snapshot()
    histogram.observe(1)
    assert before == {"vestibule_h_seconds": [[[], [[0, 1, 0], 1.0]]]}


def test_a_snapshot_is_json() -> None:
    metrics = Metrics()
    metrics.counter("vestibule_hellos_total", "direct", "1.3").value += 1
    metrics.histogram("vestibule_handoff_seconds").observe(0.1)
    metrics.gauge_function("vestibule_handshakes_half_open", lambda: 3)
    snapshot = metrics.snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot


def test_gauges_can_be_cleared_and_counters_cannot(metrics: Metrics) -> None:
    metrics.gauge("vestibule_l", "old").value = 1
    metrics.clear("vestibule_l")
    metrics.gauge("vestibule_l", "new").value = 2
    assert metrics.snapshot() == {"vestibule_l": [[["new"], 2]]}
    with pytest.raises(ValueError, match="backwards"):
        metrics.clear("vestibule_c_total")


def test_code_that_differs_from_the_table_is_refused(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="no counter vestibule_x_total"):
        metrics.counter("vestibule_x_total")
    with pytest.raises(ValueError, match="no counter vestibule_g"):
        metrics.counter("vestibule_g")
    with pytest.raises(ValueError, match="has the labels"):
        metrics.counter("vestibule_c_total", "only one")
    metrics.gauge_function("vestibule_g", lambda: 1)
    with pytest.raises(ValueError, match="computed"):
        metrics.gauge("vestibule_g")
