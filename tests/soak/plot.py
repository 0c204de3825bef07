"""Series over time as SVG text: a panel for each quantity, a line for each process. Pure.

Rules: time begins at the left edge and values at 0, so that what is flat looks flat; what was left
out of the judgement, the time to warm up, is shaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from tests.soak.samples import QUANTITIES, Series

__all__ = ["plot"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
"""Okabe and Ito's, which colour-blind people can tell apart."""
_WIDTH, _HEIGHT, _PANEL, _LEFT, _RIGHT, _TOP = 960.0, 110.0, 160.0, 110.0, 210.0, 40.0


def plot(title: str, series: Mapping[tuple[str, str], Series], warm_s: float) -> str:
    """The whole picture."""
    quantities = [name for name in QUANTITIES if any(name == key[1] for key in series)]
    end_s = max(one.seconds[-1] for one in series.values())
    parts = [_text(16, 24, title, size=16)]
    for row, name in enumerate(quantities):
        of_name = {key[0]: one for key, one in series.items() if key[1] == name}
        parts += _panel(name, of_name, _TOP + 20 + _PANEL * row, warm_s, end_s)
    height = _TOP + 20 + _PANEL * len(quantities)
    return "\n".join(
        (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH:g}' height='{height:g}' "
            "font-family='DejaVu Sans, Verdana, Arial, sans-serif' font-size='12'>",
            f"<title>{escape(title)}</title>",
            "<rect width='100%' height='100%' fill='white'/>",
            *parts,
            "</svg>",
            "",
        )
    )


def _panel(
    name: str, series: Mapping[str, Series], top: float, warm_s: float, end_s: float
) -> Iterator[str]:
    bottom, right = top + _HEIGHT, _WIDTH - _RIGHT
    most = max(value for one in series.values() for value in one.values) or 1.0
    scale_x = (right - _LEFT) / max(end_s, 1.0)
    warm = _LEFT + scale_x * min(warm_s, end_s)
    yield (
        f"<rect x='{_LEFT:g}' y='{top:g}' width='{warm - _LEFT:.1f}' height='{_HEIGHT:g}' "
        "fill='#eeeeee'/>"
    )
    yield (f"<path d='M{_LEFT:g} {top:g}V{bottom:g}H{right:g}' fill='none' stroke='#222222'/>")
    yield _text(16, top - 8, f"{name}: {QUANTITIES[name]}")
    yield _text(_LEFT - 8, top + 10, f"{most:,.0f}", anchor="end")
    yield _text(_LEFT - 8, bottom, "0", anchor="end")
    yield _text(right, bottom + 16, f"{end_s / 60:.1f} min", anchor="end")
    for number, (process, one) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{_LEFT + scale_x * at:.1f},{bottom - _HEIGHT * value / most:.1f}"
            for at, value in zip(one.seconds, one.values, strict=True)
        )
        yield f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.5'/>"
        yield _text(right + 12, top + 12 + 16 * number, process, colour=colour)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 12,
    colour: str = "#222222",
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' "
        f"fill='{colour}'>{escape(text)}</text>"
    )
