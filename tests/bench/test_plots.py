"""Which plots are drawn of which numbers."""

from __future__ import annotations

from proxy.app.bench.rotation import Case, Samples
from tests.bench.plots import plots


def samples(measure: str, **subjects: dict[str, float]) -> Samples:
    found = Samples()
    for subject, numbers in subjects.items():
        found.add(0, Case(measure, subject.replace("_", " "), dict), numbers)
    return found


def test_nothing_measured_nothing_drawn() -> None:
    assert plots(Samples()) == {}


def test_cpu_is_drawn_in_relation_to_nginx() -> None:
    cost = {"cpu_us": 100.0}
    drawn = plots(samples("hello-ecdsa", nginx={"cpu_us": 200.0}, vestibule_direct=cost))
    assert list(drawn) == ["cpu.svg"]
    assert "abandoned hello, ECDSA, 300 bytes" in drawn["cpu.svg"]
    assert "vestibule direct" in drawn["cpu.svg"]
    assert ">nginx<" not in drawn["cpu.svg"], "the reference is the line at 1"


def test_without_nginx_there_is_no_relation_to_draw() -> None:
    assert plots(samples("hello-ecdsa", haproxy={"cpu_us": 200.0})) == {}


def test_memory_and_latency_are_drawn_as_they_are() -> None:
    memory = samples("memory", nginx={"user_bytes": 43_900.0, "kernel_bytes": 8000.0})
    assert list(plots(memory)) == ["memory.svg"]
    latency = samples("honest", nginx={"p50_ms": 60.0, "p99_ms": 90.0, "calm_p50_ms": 2.0})
    assert list(plots(latency)) == ["latency.svg"]


def test_scaling_has_a_line_each_and_one_for_the_machine() -> None:
    numbers = {"cpu_us_1000": 90.0, "cpu_us_60000": 92.0}
    control = {"control_us_1000": 200.0, "control_us_60000": 201.0}
    both = {"vestibule_direct": numbers | control, "vestibule_retry": numbers | control}
    drawn = plots(samples("scaling", **both))
    assert list(drawn) == ["scaling.svg"]
    assert drawn["scaling.svg"].count("<polyline") == 3
    assert drawn["scaling.svg"].count("stroke-dasharray") == 1
