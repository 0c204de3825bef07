"""YAML -> values with places: the core schema, the bounds, what is refused."""

from __future__ import annotations

import pytest

from proxy.config.document import LIMIT_BYTES, Document, Mark, Value, parse
from proxy.config.errors import ConfigError


def value(text: str) -> Value:
    document = parse(text.encode(), "file")
    assert document.problems == ()
    return document.root.value


def failure(data: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(data, "file")
    return str(caught.value)


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse(text.encode(), "file").problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        # YAML 1.1 would read these as a boolean, a base-60 and a base-8 number.
        ("off", "off"),
        ("no", "no"),
        ("12:30:45", "12:30:45"),
        ("0640", 640),
        ("-7", -7),
        ("1_000", "1_000"),
        ("0.25", 0.25),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1e999", "1e999"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("2024-01-01", "2024-01-01"),
        ("'7'", "7"),
        ('"true"', "true"),
        ("|\n  7\n", "7\n"),
        ("9" * 41, "9" * 41),
        ("[a, [b], {c: d}]", ["a", ["b"], {"c": "d"}]),
        ("7: a\nnull: b\ntrue: c", {"7": "a", "null": "b", "true": "c"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("\ufeffa: b", {"a": "b"}),
    ],
)
def test_values(text: str, expected: Value) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


TEXT = """\
listeners:
  - name: public
    bind: [ one, two]
  - name: internal
"""


@pytest.mark.parametrize(
    ("location", "of_value", "of_key"),
    [
        ((), Mark(1, 1), None),
        (("listeners",), Mark(2, 3), Mark(1, 1)),
        (("listeners", 0, "name"), Mark(2, 11), Mark(2, 5)),
        (("listeners", 0, "bind", 1), Mark(3, 18), Mark(3, 18)),
        (("listeners", 1), Mark(4, 5), Mark(4, 5)),
        # What is not there has the place of the nearest that is.
        (("listeners", 1, "bind"), Mark(4, 5), Mark(4, 5)),
        (("backends", "app", "servers"), Mark(1, 1), Mark(1, 1)),
    ],
)
def test_places(location: tuple[str | int, ...], of_value: Mark, of_key: Mark | None) -> None:
    document = parse(TEXT.encode(), "file")
    assert document.mark(location) == of_value
    if of_key is not None:
        assert document.key_mark(location) == of_key


def test_columns_count_characters_not_bytes() -> None:
    assert parse("é: [ü, x]".encode(), "file").mark(("é", 1)) == Mark(1, 8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", 'file:3:1: a: expected each key once, found "a" again'),
        ("a: {b: 1, b: 2}", "file:1:11: a.b: expected each key once"),
        ("a: !x 1", 'file:1:4: a: expected no tag, found "!x"'),
        ("<<: {}", 'file:1:1: ["<<"]: expected no merge key; write the keys out'),
        ('a: "\\ud800"', "file:1:4: a: expected text without lone surrogates"),
        ('"\\ud800": a', 'file:1:1: ["\\ud800"]: expected text without lone surrogates'),
    ],
)
def test_what_is_no_reason_to_stop(text: str, expected: str) -> None:
    assert [problem.startswith(expected) for problem in problems(text)] == [True]


def test_of_a_key_that_is_there_twice_the_first_counts() -> None:
    assert parse(b"a: 1\na: 2\na: 3", "file").root.value == {"a": 1}
    assert len(problems("a: 1\na: 2\na: 3")) == 2


def test_a_quoted_merge_key_is_a_key() -> None:
    assert value('"<<": 1') == {"<<": 1}


def test_what_was_found_before_a_syntax_error_is_told_with_it() -> None:
    lines = failure(b"a: 1\na: 2\nb: ]").splitlines()
    assert [line.split(" ")[0] for line in lines] == ["file:2:1:", "file:3:4:"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: \xff", "file:1:4: expected text in UTF-8, found the byte 0xff"),
        (b"a: b\n\xc3\xa9: \xe9", "file:2:4: expected text in UTF-8, found the byte 0xe9"),
        ("a: b".encode("utf-16"), "file:1:1: expected text in UTF-8, found the byte 0xff"),
        (b"a: b\nc: \x07", "file:2:4: expected printable text, found the character U+0007"),
        (b"a: [", "file:1:5: expected valid YAML; "),
        (b"a: b: c", "file:1:5: expected valid YAML; mapping values are not allowed here"),
        (b"- a\n--- b", "file:2:1: expected one YAML document, found a second one"),
        (b"[1]: a", "file:1:1: expected a key that is text"),
        (b"a: *b", 'file:1:4: expected an alias to an anchor that stands before it, found "*b"'),
        (b"&a [*a]", "file:1:5: expected an alias to an anchor that stands before it"),
        (b'"\\U00110000"', "file:1:4: expected valid YAML; a number"),
    ],
)
def test_what_cannot_be_read(data: bytes, expected: str) -> None:
    assert failure(data).startswith(expected)


def test_a_file_that_is_too_large_is_not_parsed() -> None:
    assert failure(b"#" * (LIMIT_BYTES + 1)) == (
        "file:1:1: expected a file of at most 4194304 bytes, found 4194305 bytes"
    )


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_bounded(opening: str) -> None:
    assert "expected at most 32 levels of nesting" in failure(opening.encode() * 100_000)


def test_aliases_do_not_hide_depth() -> None:
    lines = ["a0: &a0 x"] + [f"a{i}: &a{i} [[*a{i - 1}]]" for i in range(1, 40)]
    assert "levels of nesting, aliases expanded" in failure("\n".join(lines).encode())


def laughs(levels: int) -> bytes:
    """Each line is ten of the one before it."""
    lines = ["a0: &a0 ha"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines).encode()


def test_aliases_do_not_hide_size() -> None:
    assert failure(laughs(10)).endswith("expected at most 200000 values, aliases expanded")
    assert isinstance(parse(laughs(4), "file"), Document)
