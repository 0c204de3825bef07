"""YAML text -> plain values that remember their lines and columns.

Rules: YAML 1.2's core schema, so `off` and `no` are text and `0640` is a number in tens; keys
are text and appear once; no tags, no merge keys, one document. Nothing here recurses deeper
or grows larger than the bounds below, whatever the text: the tree is built from PyYAML's
events, and an alias counts as much as what it stands for ("billion laughs").
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NoReturn, Protocol

import yaml

from proxy.config.errors import ConfigError, Location, Problem, key_path, quote

LIMIT_BYTES = 4 * 1024 * 1024
"""Size of a file: a configuration with ten thousand names has less than a quarter of it."""
LIMIT_VALUES = 200_000
"""Keys, values and items with all aliases expanded."""
LIMIT_DEPTH = 32
"""Levels of nesting: the model has eight."""

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
# YAML 1.2.2, Section 10.3.2. Longer digits are nobody's setting, and int() would be slow.
_INT = re.compile(r"[-+]?[0-9]{1,19}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,3})?")


class _Place(Protocol):
    """PyYAML's marks: its C and its Python ones count from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file; both count from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Node:
    """A value with its place; `size` counts it and all below it, `height` the levels below."""

    mark: Mark
    value: Value = None
    keys: dict[str, Mark] = field(default_factory=dict)
    members: dict[str | int, Node] = field(default_factory=dict)
    size: int = 1
    height: int = 0

    def add(self, key: str | int, member: Node) -> None:
        """Put a member in: its value goes into ours, its size and height count."""
        self.size += member.size + isinstance(key, str)
        self.height = max(self.height, member.height + 1)
        self.members[key] = member


@dataclass(frozen=True, slots=True)
class Document:
    """A whole file: its value, where each part of it stands, and what is wrong as YAML."""

    file: str
    root: Node
    problems: tuple[Problem, ...] = ()

    def mark(self, location: Location) -> Mark:
        """The place of a value; of the nearest one around it where it is missing."""
        node = self.root
        for part in location:
            if part not in node.members:
                break
            node = node.members[part]
        return node.mark

    def key_mark(self, location: Location) -> Mark:
        """The place of a value's key; of the value where it has no key."""
        *parents, last = location
        node = self.root
        for part in parents:
            if part not in node.members:
                return node.mark
            node = node.members[part]
        return node.keys.get(str(last)) or self.mark(location)


def parse(data: bytes, file: str) -> Document:
    """Parse a file's bytes. Duplicate keys, tags and the like are problems of the document.

    Raises ConfigError where reading cannot go on: at a syntax error or a bound.
    """
    return _Builder(file, _text(data, file)).document()


def _text(data: bytes, file: str) -> str:
    if len(data) > LIMIT_BYTES:
        expected = f"a file of at most {LIMIT_BYTES} bytes"
        raise _failure(file, Mark(1, 1), expected, f"{len(data)} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line_start = before.rfind(b"\n") + 1
        column = len(before[line_start:].decode("utf-8", "replace")) + 1
        mark = Mark(before.count(b"\n") + 1, column)
        raise _failure(file, mark, "text in UTF-8", f"the byte 0x{data[error.start]:02x}") from None


def _failure(file: str, mark: Mark, expected: str, found: str = "", hint: str = "") -> ConfigError:
    problem = Problem(
        file=file,
        line=mark.line,
        column=mark.column,
        key="",
        expected=expected,
        found=found,
        hint=hint,
    )
    return ConfigError([problem])


class _Builder:
    """Builds the tree from parser events; one use."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text
        self._problems: list[Problem] = []
        self._anchors: dict[str, Node] = {}
        self._size = 0
        self._mark = Mark(1, 1)

    def document(self) -> Document:
        root: Node | None = None
        try:
            events = self._events()
            for event in events:
                if not isinstance(event, yaml.DocumentStartEvent):
                    continue
                if root is not None:
                    self._stop("one YAML document", "a second one")
                root = self._node(next(events), events, ())
        except ConfigError as error:
            raise ConfigError([*self._problems, *error.problems]) from None
        return Document(self._file, root or Node(Mark(1, 1)), tuple(self._problems))

    def _events(self) -> Iterator[yaml.Event]:
        """PyYAML's events; whatever its parser raises becomes a ConfigError here."""
        loader: yaml.SafeLoader | None = None
        try:
            loader = yaml.SafeLoader(self._text)
            while loader.check_event():
                event: yaml.Event = loader.get_event()  # type: ignore[no-untyped-call]
                self._mark = _mark(event.start_mark)
                yield event
        except yaml.MarkedYAMLError as error:
            self._mark = _mark(error.problem_mark or error.context_mark)
            self._stop("valid YAML", hint=str(error.problem or error.context))
        except yaml.reader.ReaderError as error:
            before = self._text[: error.position]
            line_start = before.rfind("\n") + 1
            self._mark = Mark(before.count("\n") + 1, len(before) - line_start + 1)
            self._stop("printable text", f"the character U+{ord(self._text[error.position]):04X}")
        except (ValueError, OverflowError):
            # PyYAML lets these out for escapes beyond U+10FFFF and absurd version numbers.
            self._mark = _mark(loader.get_mark() if loader else None)
            self._stop("valid YAML", hint="a number in an escape or a directive is out of range")

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], location: Location) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, location)
        self._nest(len(location))
        self._refuse_tag(event, location)
        match event:
            case yaml.ScalarEvent():
                node = Node(_mark(event.start_mark), self._scalar(event, location))
                self._grow(1)
            case yaml.SequenceStartEvent():
                node = self._sequence(event, events, location)
            case _:
                node = self._mapping(event, events, location)
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _sequence(
        self, start: yaml.Event, events: Iterator[yaml.Event], location: Location
    ) -> Node:
        items: list[Value] = []
        node = Node(_mark(start.start_mark), items)
        self._grow(1)
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            item = self._node(event, events, (*location, len(items)))
            node.add(len(items), item)
            items.append(item.value)
        return node

    def _mapping(self, start: yaml.Event, events: Iterator[yaml.Event], location: Location) -> Node:
        entries: dict[str, Value] = {}
        node = Node(_mark(start.start_mark), entries)
        self._grow(1)
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._stop("a key that is text")
            key = event.value
            key_mark = _mark(event.start_mark)
            inner = (*location, key)
            usable = self._check_key(node, event, inner, key_mark)
            member = self._node(next(events), events, inner)
            if usable:
                node.keys[key] = key_mark
                node.add(key, member)
                entries[key] = member.value
        return node

    def _check_key(self, node: Node, event: yaml.ScalarEvent, at: Location, mark: Mark) -> bool:
        """Whether an entry with this key belongs into the mapping; else it is a problem."""
        key = event.value
        self._grow(1)
        if key in node.keys:
            first = node.keys[key]
            found = f"{quote(key)} again (first on line {first.line})"
            self._problem(at, "each key once", found, mark)
        elif key == "<<" and event.style is None:
            self._problem(at, "no merge key", "", mark, "write the keys out")
        elif _has_surrogate(key):
            self._problem(at, "text without lone surrogates", "", mark)
        else:
            return True
        return False

    def _scalar(self, event: yaml.ScalarEvent, location: Location) -> Value:
        text: str = event.value
        if event.style is None:
            return _resolve(text)
        if _has_surrogate(text):
            # Only an escape can write one; JSON and file names cannot.
            self._problem(location, "text without lone surrogates", "", _mark(event.start_mark))
            return text.encode("utf-8", "replace").decode("utf-8")
        return text

    def _alias(self, event: yaml.AliasEvent, location: Location) -> Node:
        target = self._anchors.get(event.anchor or "")
        if target is None:
            self._stop("an alias to an anchor that stands before it", quote(f"*{event.anchor}"))
        self._grow(target.size)
        self._nest(len(location) + target.height)
        return replace(target, mark=_mark(event.start_mark))

    def _refuse_tag(self, event: yaml.Event, location: Location) -> None:
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            self._problem(location, "no tag", quote(tag), _mark(event.start_mark))

    def _nest(self, depth: int) -> None:
        if depth > LIMIT_DEPTH:
            self._stop(f"at most {LIMIT_DEPTH} levels of nesting, aliases expanded")

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > LIMIT_VALUES:
            self._stop(f"at most {LIMIT_VALUES} values, aliases expanded")

    def _problem(
        self, location: Location, expected: str, found: str, mark: Mark, hint: str = ""
    ) -> None:
        problem = Problem(
            file=self._file,
            line=mark.line,
            column=mark.column,
            key=key_path(location),
            expected=expected,
            found=found,
            hint=hint,
        )
        self._problems.append(problem)

    def _stop(self, expected: str, found: str = "", hint: str = "") -> NoReturn:
        raise _failure(self._file, self._mark, expected, found, hint)


def _mark(mark: _Place | None) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark is not None else Mark(1, 1)


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _resolve(text: str) -> Value:
    """A plain scalar by YAML 1.2's core schema; infinities and absurd numbers stay text."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text
