"""Sorting field lines into the bins that a proxy works with."""

from __future__ import annotations

import pytest

from proxy.http.field_lines import (
    CONNECTION,
    HOP_BY_HOP,
    PLAIN,
    REQUEST_KINDS,
    RESPONSE_KINDS,
    Field,
    imitates,
    joined,
    sort_fields,
    tokens,
)


def test_every_field_lands_in_one_bin_and_keeps_its_order() -> None:
    fields: list[Field] = [(b"B", b"1"), (b"CONNECTION", b"x"), (b"A", b"2"), (b"Te", b"t")]
    bins = sort_fields(fields, REQUEST_KINDS)
    assert bins[PLAIN] == [fields[0], fields[2]]
    assert bins[CONNECTION] == [fields[1]]
    assert bins[HOP_BY_HOP] == [fields[3]]
    assert sum(map(len, bins)) == len(fields)


def test_a_response_may_say_what_only_a_request_must_not() -> None:
    fields: list[Field] = [
        (b"X-Request-Id", b"1"),
        (b"Host", b"a"),
        (b"Forwarded", b"b"),
        (b"X-Forwarded-Any", b"c"),
    ]
    assert sort_fields(fields, RESPONSE_KINDS)[PLAIN] == fields
    assert sort_fields(fields, REQUEST_KINDS)[PLAIN] == []


def test_lists_over_several_lines_are_one() -> None:
    assert joined([]) is None
    assert joined([(b"A", b"x"), (b"a", b"y")]) == b"x, y"
    assert tokens([]) == frozenset()
    assert tokens([(b"A", b"Close")]) == {b"close"}
    assert tokens([(b"A", b"X ,\tY"), (b"A", b"z")]) == {b"x", b"y", b"z"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"X_Real_IP", True),
        (b"Content_Length", True),
        (b"X_Forwarded_User", True),
        (b"api_key", False),
        (b"_", False),
    ],
)
def test_names_that_cgi_would_take_for_ours(name: bytes, expected: bool) -> None:
    assert imitates(name) is expected
