"""The table for people and the document for programs."""

from __future__ import annotations

import json

import pytest

from proxy.app.bench.report import document, shown, table
from proxy.app.bench.rotation import Case, Samples


def samples(with_reference: bool = True) -> Samples:
    found = Samples()
    rows = {"vestibule direct": (100.0, 110.0, 120.0)}
    if with_reference:
        rows["nginx"] = (200.0, 200.0, 200.0)
    for subject, values in rows.items():
        for number, value in enumerate(values):
            found.add(number, Case("hello", subject, dict), {"cpu_us": value})
    return found


def test_a_table_shows_medians_spreads_and_ratios() -> None:
    assert table(samples(), "nginx").splitlines() == [
        "                         SERVER            MEDIAN  MIDDLE HALF            TO NGINX",
        "CPU per abandoned hello  vestibule direct  110 us      105-115  0.55 (0.525-0.575)",
        "                         nginx             200 us      200-200",
    ]


def test_without_the_reference_there_is_no_column_for_ratios() -> None:
    assert table(samples(with_reference=False), "nginx").splitlines() == [
        "                         SERVER            MEDIAN  MIDDLE HALF",
        "CPU per abandoned hello  vestibule direct  110 us      105-115",
    ]


def test_the_document_has_the_same_and_every_round() -> None:
    found = json.loads(json.dumps(document(samples(), "nginx", {"rounds": 3})))
    assert found["rounds"] == 3
    ours, theirs = found["results"]
    assert (ours["measure"], ours["unit"]) == ("CPU per abandoned hello", "us")
    assert (ours["server"], ours["median"], ours["low"], ours["high"]) == (
        *("vestibule direct", 110, 105),
        115,
    )
    assert ours["ratio"]["median"] == 0.55
    assert theirs["ratio"]["median"] == 1
    assert found["samples"]["numbers"]["hello"]["cpu_us"]["vestibule direct"] == [100, 110, 120]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12,346"),
        (100, "100"),
        (99.94, "99.9"),
        (1.005, "1"),
        (0.152, "0.152"),
        (0.00057, "0.00057"),
        (-0.0039, "-0.0039"),
        (0, "0"),
    ],
)
def test_numbers_as_people_read_them(value: float, text: str) -> None:
    assert shown(value) == text
