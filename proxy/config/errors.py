"""What a configuration file got wrong: where, which key, and what was expected.

Rules: a problem stops the load, a caution does not; all of a file's are kept, in the order
of the file. Texts never show a secret's value.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# A key's path: mapping keys and list indices from the top of the file.
Location = tuple[str | int, ...]

_LONGEST_FOUND = 256
_MOST_KNOWN = 16
_MOST_COMPARED = 256


class Unfit(ValueError):
    """A value that its key does not take; the message completes the sentence "expected ...".

    `found` replaces the value in the message where that says too little.
    """

    def __init__(self, expected: str, hint: str = "", *, found: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint
        self.found = found


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error in a configuration."""

    file: str
    """The file as it was named to us."""
    line: int
    """From 1; 0 where the file could not be read at all."""
    column: int
    """From 1; 0 where the file could not be read at all."""
    key: str
    """The key's path, such as `listeners[0].server_names[1].names`; empty for the whole file."""
    expected: str
    """What the key takes."""
    found: str = ""
    """What was there instead; empty where showing it would not help."""
    hint: str = ""
    """What to do about it; empty if that is plain."""

    def __str__(self) -> str:
        text = f"{_place(self)}: expected {self.expected}"
        if self.found:
            text += f", found {self.found}"
        return f"{text}; {self.hint}" if self.hint else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """Something that works and that an operator will probably regret."""

    file: str
    """The file as it was named to us."""
    line: int
    """From 1."""
    column: int
    """From 1."""
    key: str
    """The key's path."""
    text: str
    """What is the matter."""

    def __str__(self) -> str:
        return f"{_place(self)}: {self.text}"


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` are all of its errors, at least one.

    `file`, `line`, `column`, `key` and `expected` are those of the first problem.
    """

    def __init__(self, problems: Sequence[Problem], cautions: Sequence[Caution] = ()) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
        self.cautions = tuple(cautions)

    @property
    def file(self) -> str:
        """The file of the first problem."""
        return self.problems[0].file

    @property
    def line(self) -> int:
        """The line of the first problem."""
        return self.problems[0].line

    @property
    def column(self) -> int:
        """The column of the first problem."""
        return self.problems[0].column

    @property
    def key(self) -> str:
        """The key path of the first problem."""
        return self.problems[0].key

    @property
    def expected(self) -> str:
        """What the first problem's key takes."""
        return self.problems[0].expected


def key_path(location: Location) -> str:
    """`("backends", "app", "servers", 0)` as `backends.app.servers[0]`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part and part.isascii() and part.replace("_", "a").replace("-", "a").isalnum():
            path += f".{part}" if path else part
        else:
            path += f"[{quote(part)}]"
    return path


def quote(text: str) -> str:
    """Text as a message shows it: in quotes, control characters escaped, cut when long."""
    cut = text if len(text) <= _LONGEST_FOUND else text[: _LONGEST_FOUND - 3] + "..."
    return json.dumps(cut, ensure_ascii=not cut.isprintable())


def suggestion(name: str, known: Iterable[str]) -> str:
    """What an unknown name may have been meant to be."""
    names = sorted(known)
    # The search costs the product of both counts: not for thousands of names.
    near = difflib.get_close_matches(name, names, n=1) if len(names) <= _MOST_COMPARED else []
    if near:
        return f"did you mean {quote(near[0])}?"
    more = ", ..." if len(names) > _MOST_KNOWN else ""
    return f"known: {', '.join(names[:_MOST_KNOWN])}{more}"


def describe(value: object) -> str:
    """A value of a configuration as a message shows it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return quote(value)
        case int() | float():
            return str(value)
        case _:
            return kind(value)


def kind(value: object) -> str:
    """What sort of value it is, where the value itself must or need not be shown."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case dict():
            return "a mapping"
        case _:
            return "a list"


def _place(remark: Problem | Caution) -> str:
    place = remark.file
    if remark.line:
        place += f":{remark.line}:{remark.column}"
    return f"{place}: {remark.key}" if remark.key else place
