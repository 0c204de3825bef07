"""Peers' text made safe to print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.escaping import bounded, escaped, escaped_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text", "plain text"),
        ("Grüße", "Grüße"),
        ("two\nlines\r", "two\\x0Alines\\x0D"),
        ("\x1b[2J", "\\x1B[2J"),
        ("\x7f\x9b", "\\x7F\\x9B"),
        ("a\u2028b", "a\\u2028b"),
        ("back\\x0Aslash", "back\\x5Cx0Aslash"),
    ],
)
def test_control_characters_are_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"/path?x=1", "/path?x=1"),
        (b'"quoted"', "\\x22quoted\\x22"),
        (b"\xff\xc3\xbc", "\\xFF\\xC3\\xBC"),
        (b"", ""),
        (b"12345678901", "1234567890..."),
    ],
)
def test_bytes_can_stand_between_quotes(data: bytes, expected: str) -> None:
    assert escaped_bytes(data, 10) == expected


@given(st.text())
def test_escaped_text_is_one_printable_line(text: str) -> None:
    result = escaped(text)
    assert len(result.splitlines()) <= 1
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in result)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_different_bytes_look_different(first: bytes, second: bytes) -> None:
    same = escaped_bytes(first, 200) == escaped_bytes(second, 200)
    assert same is (first == second)


def test_long_text_is_cut() -> None:
    assert bounded("abcdef", 6) == "abcdef"
    assert bounded("abcdefg", 6) == "abcdef..."
