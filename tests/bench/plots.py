"""Which numbers are drawn, and how: from samples to SVG files' texts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from proxy.app.bench.figures import Figure
from proxy.app.bench.rotation import Samples
from tests.bench import svg
from tests.bench.goals import GOALS, QUANTITIES, Quantity
from tests.bench.peers import NGINX

__all__ = ["plots"]


def plots(samples: Samples) -> Mapping[str, str]:
    """Each plot that there are numbers for, by file name."""
    drawn = {
        "cpu.svg": _ratios(samples),
        "memory.svg": _memory(samples),
        "latency.svg": _latency(samples),
        "scaling.svg": _scaling(samples),
    }
    return {name: text for name, text in drawn.items() if text}


def _ratios(samples: Samples) -> str:
    content = []
    for quantity in QUANTITIES:
        if not quantity.name.startswith("cpu"):
            continue
        points = tuple(_points(samples, quantity, in_ratio=True))
        if points:
            goals = _goals(quantity)
            label = quantity.title.removeprefix("CPU per ").replace("300-byte hello", "300 bytes")
            content.append(svg.Row(label, points, goals))
    if not content:
        return ""
    return svg.rows("CPU time in relation to nginx", "nginx = 1", content, unity=True)


def _memory(samples: Samples) -> str:
    content = []
    for quantity in QUANTITIES:
        points = tuple(_points(samples, quantity)) if quantity.unit == "B" else ()
        if points:
            label = quantity.title.replace(" per half-open client", "")
            content.append(svg.Row(label, points, _goals(quantity)))
    if not content:
        return ""
    return svg.rows("Memory per half-open client", "bytes", content)


def _latency(samples: Samples) -> str:
    content = []
    for quantity in QUANTITIES:
        points = tuple(_points(samples, quantity)) if quantity.unit == "ms" else ()
        if points:
            content.append(svg.Row(quantity.title.replace(", 200 requests/s", ""), points))
    if not content:
        return ""
    return svg.rows("Latency, and what a flood of 256 hellos at once makes of it", "ms", content)


def _goals(quantity: Quantity) -> tuple[tuple[str, float], ...]:
    place = (quantity.measure, quantity.name)
    return tuple((one.subject, one.limit) for one in GOALS if (one.measure, one.name) == place)


def _points(samples: Samples, quantity: Quantity, *, in_ratio: bool = False) -> Iterator[svg.Point]:
    for subject in samples.subjects(quantity.measure, quantity.name):
        found: Figure | None
        if in_ratio:
            found = samples.ratio(quantity.measure, quantity.name, subject, NGINX)
        else:
            found = samples.figure(quantity.measure, quantity.name, subject)
        if found is not None and not (in_ratio and subject == NGINX):
            yield svg.Point(subject, found.median, found.low, found.high)


def _scaling(samples: Samples) -> str:
    names = samples.numbers.get("scaling", {})
    levels = sorted(int(name.removeprefix("cpu_us_")) for name in names if "cpu_us_" in name)
    if not levels:
        return ""

    def line(series: str, prefix: str, subject: str) -> svg.Line:
        figures = ((n, samples.figure("scaling", f"{prefix}_{n}", subject)) for n in levels)
        points = tuple((float(n), found.median) for n, found in figures if found is not None)
        return svg.Line(series, points, dashed=series != subject)

    subjects = samples.subjects("scaling", f"cpu_us_{levels[0]}")
    drawn = [line(subject, "cpu_us", subject) for subject in subjects]
    drawn.append(line(NGINX, "control_us", subjects[0]))
    return svg.lines(
        "CPU per hello beside half-open clients, four fronts",
        "half-open clients (of Vestibule; nginx beside has none)",
        "microseconds",
        drawn,
    )
