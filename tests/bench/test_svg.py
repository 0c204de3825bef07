"""The plots' geometry, and that they are SVG."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.svg import Axis, Line, Point, Row, lines, rows

NAMESPACE = "{http://www.w3.org/2000/svg}"

ROWS = rows(
    "CPU <time>",
    "nginx = 1",
    [
        Row(
            "hello",
            (
                Point("nginx", 1.0, 1.0, 1.0),
                Point("vestibule direct", 0.5, 0.4, 0.6),
            ),
            (("vestibule direct", 0.62), ("vestibule retry", 0.15)),
        ),
        Row("a browser's", (Point("vestibule direct", 2.0, 1.9, 2.2),)),
    ],
    unity=True,
)
LINES = lines(
    "CPU", "half-open", "us", [Line("a", ((1000, 90), (60_000, 93))), Line("b", ((1000, 50),))]
)


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314  our own


def texts(text: str) -> list[str]:
    return [one.text or "" for one in parsed(text).iter(f"{NAMESPACE}text")]


@given(
    st.lists(st.floats(1e-4, 1e7), min_size=1),
    st.floats(1e-4, 1e7),
)
def test_an_axis_rises_and_keeps_within_its_ends(values: list[float], other: float) -> None:
    axis = Axis(values, 100, 500)
    places = [axis.at(value) for value in sorted([*values, other])]
    assert places == sorted(places)
    assert all(99.999 <= place <= 500.001 for place in places)
    assert axis.low <= min(values) * 1.001
    assert axis.high >= max(values) * 0.999
    assert 1 <= len(axis.ticks()) <= 14


def test_an_axis_is_logarithmic() -> None:
    axis = Axis([1, 100], 0, 200)
    assert axis.at(10) == pytest.approx(100)
    assert axis.ticks() == pytest.approx([1, 2, 5, 10, 20, 50, 100])


def test_an_axis_may_point_down() -> None:
    axis = Axis([1, 100], 400, 200)
    assert axis.at(1) == 400
    assert axis.at(100) == pytest.approx(200)


def test_rows_are_labelled_and_series_explained() -> None:
    found = texts(ROWS)
    assert found[0] == "CPU <time>"
    assert {"hello", "a browser's", "nginx", "vestibule direct"} <= set(found)
    assert found[-1] == "nginx = 1 (bars: goals)"
    assert "1" in found


def test_points_stand_where_their_values_are() -> None:
    circles = [
        (float(one.attrib["cx"]), float(one.attrib["cy"]), one.attrib["fill"])
        for one in parsed(ROWS).iter(f"{NAMESPACE}circle")
    ]
    _, _, nginx, ours, browser = circles  # behind the two of the legend
    assert ours[0] < nginx[0] < browser[0]
    assert nginx[1] < ours[1] < browser[1]
    assert ours[2] == browser[2] != nginx[2]


def test_only_goals_of_servers_that_are_shown_are_drawn() -> None:
    thick = [
        one for one in parsed(ROWS).iter(f"{NAMESPACE}line") if one.attrib["stroke-width"] == "3"
    ]
    assert len(thick) == 1
    assert "0.1" not in texts(ROWS), "an axis must not be stretched for what is not shown"


def test_lines_have_both_axes_named_and_a_point_for_each_value() -> None:
    assert {"CPU", "half-open", "us", "1,000", "50,000"} <= set(texts(LINES))
    polylines = list(parsed(LINES).iter(f"{NAMESPACE}polyline"))
    assert [len(one.attrib["points"].split()) for one in polylines] == [2, 1]


@pytest.mark.parametrize("text", [ROWS, LINES], ids=["rows", "lines"])
def test_nothing_is_outside_the_picture(text: str) -> None:
    root = parsed(text)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for one in root.iter():
        for name, limit in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            value = one.attrib.get(name, "0")
            assert 0 <= float(value) <= limit, one.attrib


@pytest.mark.parametrize("text", [ROWS, LINES], ids=["rows", "lines"])
def test_a_renderer_takes_it(tmp_path: Path, text: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    file = tmp_path / "plot.svg"
    file.write_text(text)
    shot = tmp_path / "plot.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={shot}"]
    subprocess.run(
        [chromium, *options, f"--user-data-dir={tmp_path}/profile", file.as_uri()],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert shot.read_bytes().startswith(b"\x89PNG")
