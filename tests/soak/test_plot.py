"""The picture of a soak: well-formed, and with all that was seen in it."""

from __future__ import annotations

from xml.etree import ElementTree

from tests.soak.plot import plot
from tests.soak.samples import Series

SVG = "{http://www.w3.org/2000/svg}"


def test_each_quantity_has_a_panel_and_each_process_a_line() -> None:
    series = {
        ("front 0 <1>", "memory"): Series([0, 5, 10], [100, 200, 150]),
        ("worker 0 (2)", "memory"): Series([0, 5, 10], [50, 50, 50]),
        ("proxy", "half_open"): Series([0, 5, 10], [0, 0, 0]),
    }
    picture = ElementTree.fromstring(plot("A title", series, warm_s=5))  # noqa: S314  our own
    texts = [one.text or "" for one in picture.iter(f"{SVG}text")]
    assert {"A title", "front 0 <1>", "worker 0 (2)", "proxy"} <= set(texts)
    assert sum(text.startswith(("memory:", "half_open:")) for text in texts) == 2
    lines = [one.attrib["points"].split() for one in picture.iter(f"{SVG}polyline")]
    assert [len(one) for one in lines] == [3, 3, 3]
    highest = min(lines[0], key=lambda point: float(point.split(",")[1]))
    assert highest == lines[0][1]
