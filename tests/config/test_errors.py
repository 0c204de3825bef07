"""How places, keys and values are written in messages."""

from __future__ import annotations

import pytest

from proxy.config.errors import (
    Caution,
    ConfigError,
    Location,
    Problem,
    describe,
    key_path,
    kind,
    quote,
    suggestion,
)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ((), ""),
        (("listeners", 0, "names", 1), "listeners[0].names[1]"),
        (("backends", "my-app_1", "tls"), "backends.my-app_1.tls"),
        (("backends", "my app"), 'backends["my app"]'),
        (("",), '[""]'),
        (("a", "é", "b"), 'a["é"].b'),
    ],
)
def test_key_paths(location: Location, path: str) -> None:
    assert key_path(location) == path


@pytest.mark.parametrize(
    ("value", "described", "its_kind"),
    [
        (None, "nothing", "nothing"),
        (True, "true", "true or false"),
        (7, "7", "a number"),
        (1.5, "1.5", "a number"),
        ("a", '"a"', "text"),
        ({"a": 1}, "a mapping", "a mapping"),
        ([1], "a list", "a list"),
    ],
)
def test_values(value: object, described: str, its_kind: str) -> None:
    assert describe(value) == described
    assert kind(value) == its_kind


def test_quotes_escape_what_a_terminal_would_obey_and_end() -> None:
    assert quote("é") == '"é"'
    assert quote('a"\x1b[2J\u202e') == '"a\\"\\u001b[2J\\u202e"'
    assert len(quote("a" * 1000)) == 258


def test_suggestions() -> None:
    assert suggestion("beckend", ["backend", "host"]) == 'did you mean "backend"?'
    assert suggestion("x", ["host", "backend"]) == "known: backend, host"
    many = suggestion("x", [f"name{number}" for number in range(100)])
    assert many.endswith(", ...")
    assert many.count(",") == 16


def problem(line: int = 2, **changes: str) -> Problem:
    texts = {"key": "a.b", "expected": "text", "found": "", "hint": "", **changes}
    return Problem(file="f.yaml", line=line, column=3, **texts)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (problem(), "f.yaml:2:3: a.b: expected text"),
        (problem(found="7"), "f.yaml:2:3: a.b: expected text, found 7"),
        (problem(hint="quote it"), "f.yaml:2:3: a.b: expected text; quote it"),
        (problem(found="7", hint="so"), "f.yaml:2:3: a.b: expected text, found 7; so"),
        (problem(key=""), "f.yaml:2:3: expected text"),
        (problem(line=0, key=""), "f.yaml: expected text"),
    ],
)
def test_problems(written: Problem, text: str) -> None:
    assert str(written) == text


def test_the_error_is_all_problems_and_stands_for_the_first() -> None:
    error = ConfigError([problem(2), problem(5, key="c")])
    assert str(error) == "f.yaml:2:3: a.b: expected text\nf.yaml:5:3: c: expected text"
    assert (error.file, error.line, error.column) == ("f.yaml", 2, 3)
    assert (error.key, error.expected) == ("a.b", "text")


def test_cautions() -> None:
    caution = Caution(file="f.yaml", line=1, column=2, key="a", text="expires")
    assert str(caution) == "f.yaml:1:2: a: expires"
