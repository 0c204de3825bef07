"""Two kinds of plots as SVG text: points in rows, and lines, both on logarithmic axes. Pure.

Rules: every axis says what it counts; a series is told by its shape as well as by its colour; text
is text, in a font that every machine has, on a white ground.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Axis", "Line", "Point", "Row", "lines", "rows"]

_STYLES = {
    "nginx": ("#444444", "circle"),
    "haproxy": ("#cc79a7", "square"),
    "uvloop-ssl": ("#e69f00", "diamond"),
    "vestibule direct": ("#0072b2", "circle"),
    "vestibule retry": ("#d55e00", "square"),
    "vestibule adaptive": ("#009e73", "triangle"),
    "nginxt": ("#888888", "triangle"),
    "haproxyt": ("#999933", "diamond"),
}
"""Okabe and Ito's colours, which colour-blind people can tell apart; the same in all plots."""
_OTHER = ("#56b4e9", "triangle")
_FONT = "font-family='DejaVu Sans, Verdana, Arial, sans-serif'"
_GRID, _INK = "#dddddd", "#222222"
_SIZE = 4.5
_CORNERS = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    "triangle": ((0, -1.2), (1.2, 0.9), (-1.2, 0.9)),
}
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 960.0, 330.0, 30.0, 56.0, 56.0
_LANE, _GAP = 11.0, 8.0
_LEGEND_ROW = 22.0


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a series with its spread."""

    series: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """What stands in one row, and which goals there are."""

    label: str
    points: tuple[Point, ...]
    goals: tuple[tuple[str, float], ...] = ()
    """Series and limit."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series over x."""

    series: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


class Axis:
    """A logarithmic scale from values to pixels."""

    def __init__(self, values: Iterable[float], begin: float, end: float) -> None:
        known = [value for value in values if value > 0] or [1.0]
        self.low = _step_below(min(known))
        self.high = max(_step_above(max(known)), self.low * 2)
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        """Where a value is; one beyond an end of the scale is at that end."""
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return self._begin + share * (self._end - self._begin)

    def ticks(self) -> list[float]:
        """1, 2 and 5 in each decade; over many decades only 1."""
        decades = math.log10(self.high / self.low)
        steps = (1.0,) if decades > 3.5 else (1.0, 2.0, 5.0)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found = [step * 10.0**power for power in powers for step in steps]
        return [one for one in found if self.low * 0.999 <= one <= self.high * 1.001]


def _steps(value: float) -> list[float]:
    power = math.floor(math.log10(value))
    return [step * 10.0**exponent for exponent in (power, power + 1) for step in (1.0, 2.0, 5.0)]


def _step_below(value: float) -> float:
    return max(step for step in _steps(value) if step <= value * 1.0001)


def _step_above(value: float) -> float:
    return min(step for step in _steps(value) if step >= value * 0.9999)


def rows(title: str, axis_title: str, content: Sequence[Row], *, unity: bool = False) -> str:
    """Points in labelled rows; `unity` draws a line at 1, where the reference is."""
    series = _known({point.series for row in content for point in row.points})
    values = [v for row in content for p in row.points for v in (p.low, p.high)]
    values += [limit for row in content for name, limit in row.goals if name in series]
    top = _TOP + _legend_height(series)
    height = _LANE * len(series) + _GAP
    bottom = top + height * len(content)
    axis = Axis([*values, *([1.0] if unity else [])], _LEFT, _WIDTH - _RIGHT)
    parts = [*_grid(axis, top, bottom), *_legend(series)]
    if unity:
        parts.append(_stroke(axis.at(1), top, axis.at(1), bottom, _INK, width=1.5))
    for number, row in enumerate(content):
        begin = top + height * number
        parts.append(_stroke(16, begin, _WIDTH - _RIGHT, begin, _GRID))
        parts.append(_text(_LEFT - 12, begin + height / 2 + 4, row.label, anchor="end"))
        lanes = {name: begin + _GAP / 2 + _LANE * (lane + 0.5) for lane, name in enumerate(series)}
        parts += _row(axis, row, lanes)
    goal = " (bars: goals)" if any(row.goals for row in content) else ""
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return _document(title, axis_title + goal, middle, parts, bottom)


def _row(axis: Axis, row: Row, lanes: Mapping[str, float]) -> Iterator[str]:
    for name, limit in row.goals:
        if name in lanes:
            x, y = axis.at(limit), lanes[name]
            yield _stroke(x, y - _LANE / 2, x, y + _LANE / 2, _colour(name), width=3)
    for point in row.points:
        y = lanes[point.series]
        colour = _colour(point.series)
        yield _stroke(axis.at(point.low), y, axis.at(point.high), y, colour, width=2.5)
        yield _mark(axis.at(point.value), y, point.series)


def lines(title: str, x_title: str, y_title: str, content: Sequence[Line]) -> str:
    """Lines over x, both axes logarithmic; y begins far enough down to show what is flat."""
    series = [line.series for line in content]
    top = _TOP + _legend_height(series)
    bottom, left = top + 340, 90.0
    x_axis = Axis([x for line in content for x, _ in line.points], left, _WIDTH - _RIGHT)
    values = [y for line in content for _, y in line.points]
    y_axis = Axis([*values, min(values, default=1.0) / 2], bottom, top)
    parts = [*_grid(x_axis, top, bottom), *_legend(series)]
    for tick in y_axis.ticks():
        height = y_axis.at(tick)
        parts.append(_stroke(left, height, _WIDTH - _RIGHT, height, _GRID))
        parts.append(_text(left - 8, height + 4, f"{tick:,g}", anchor="end"))
    middle = (top + bottom) / 2
    parts.append(_text(24, middle, y_title, anchor="middle", turn=True))
    for line in content:
        places = [(x_axis.at(point[0]), y_axis.at(point[1])) for point in line.points]
        path = " ".join(f"{place[0]:.1f},{place[1]:.1f}" for place in places)
        dash = " stroke-dasharray='6 4'" if line.dashed else ""
        parts.append(
            f"<polyline points='{path}' fill='none' stroke='{_colour(line.series)}' "
            f"stroke-width='2'{dash}/>"
        )
        parts += [_mark(*place, line.series) for place in places]
    return _document(title, x_title, (left + _WIDTH - _RIGHT) / 2, parts, bottom)


def _document(
    title: str, axis_title: str, middle: float, parts: Iterable[str], bottom: float
) -> str:
    height = bottom + _BOTTOM
    return "\n".join(
        (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH:g}' height='{height:g}' "
            f"viewBox='0 0 {_WIDTH:g} {height:g}' {_FONT} font-size='13'>",
            f"<title>{escape(title)}</title>",
            "<rect width='100%' height='100%' fill='white'/>",
            _text(16, 28, title, size=17),
            *parts,
            _text(middle, height - 12, axis_title, anchor="middle"),
            "</svg>",
            "",
        )
    )


def _grid(axis: Axis, top: float, bottom: float) -> Iterator[str]:
    for tick in axis.ticks():
        x = axis.at(tick)
        yield _stroke(x, top, x, bottom, _GRID)
        yield _text(x, bottom + 18, f"{tick:,g}", anchor="middle", size=12)


_PER_LINE = 4


def _legend_height(series: Sequence[str]) -> float:
    return _LEGEND_ROW * math.ceil(len(series) / _PER_LINE)


def _legend(series: Sequence[str]) -> Iterator[str]:
    step = (_WIDTH - 40) / _PER_LINE
    for number, name in enumerate(series):
        x = 24 + step * (number % _PER_LINE)
        y = 50 + _LEGEND_ROW * (number // _PER_LINE)
        yield _mark(x, y, name)
        yield _text(x + 12, y + 4, name)


def _mark(x: float, y: float, name: str) -> str:
    """A point of a series."""
    colour, shape = _STYLES.get(name, _OTHER)
    if shape == "circle":
        return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{_SIZE:g}' fill='{colour}'/>"
    corners = (f"{x + _SIZE * dx:.1f},{y + _SIZE * dy:.1f}" for dx, dy in _CORNERS[shape])
    return f"<polygon points='{' '.join(corners)}' fill='{colour}'/>"


def _colour(name: str) -> str:
    return _STYLES.get(name, _OTHER)[0]


def _known(names: Collection[str]) -> list[str]:
    """In the order in which all plots have them."""
    return [*(one for one in _STYLES if one in names), *sorted(set(names) - set(_STYLES))]


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1.0) -> str:
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
        f"stroke='{colour}' stroke-width='{width:g}'/>"
    )


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, turn: bool = False
) -> str:
    turned = f" transform='rotate(-90 {x:.1f} {y:.1f})'" if turn else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' "
        f"fill='{_INK}'{turned}>{escape(text)}</text>"
    )
