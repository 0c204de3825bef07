"""A parsed document -> the model, or problems in the operator's words.

Rules: pydantic checks the shape; its errors are told with the key's place and in one manner:
what was expected, what was found. Problems in keys that nothing else depends on do not end the
check: it goes on as if they were not there, so that the rest of the file is checked too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from proxy.config.document import Value
from proxy.config.errors import Location, Unfit, describe, kind, suggestion
from proxy.config.findings import Findings
from proxy.config.model import ConfigurationFile

_UNKNOWN_KEY = "unexpected_keyword_argument"
# Sections whose values are compared with others: one left out would make errors of its own.
_ENTANGLED = frozenset({"listeners", "admin", "failures"})

# pydantic's error types as what was expected; the argument is the error's context.
_EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "this key, which is required",
    "string_type": lambda _: "text",
    "int_type": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "bool_type": lambda _: "true or false",
    "dataclass_type": lambda _: "a mapping",
    "dict_type": lambda _: "a mapping",
    "tuple_type": lambda _: "a list",
    "literal_error": lambda context: str(context["expected"]).replace("'", '"'),
    "greater_than": lambda context: f"more than {context['gt']:.0f}",
    "greater_than_equal": lambda context: f"at least {context['ge']:.0f}",
    "less_than_equal": lambda context: f"at most {context['le']:.0f}",
    "too_short": lambda _: "at least one",
}
_CONTAINERS = frozenset({"dataclass_type", "dict_type", "tuple_type"})


@cache
def adapter() -> TypeAdapter[ConfigurationFile]:
    """The model's validator; made once, because that takes a tenth of a second."""
    return TypeAdapter(ConfigurationFile)


@cache
def json_schema() -> dict[str, Any]:
    """The model's JSON schema."""
    return adapter().json_schema()


def read(findings: Findings) -> ConfigurationFile | None:
    """Check the document's shape; None where problems leave nothing to go on with."""
    value = findings.document.root.value
    try:
        return _validate(value)
    except ValidationError as error:
        details = [each for each in error.errors(include_url=False) if not _is_echo(each)]
    for detail in details:
        _tell(detail, findings)
    if not all(_is_expendable(detail) for detail in details):
        return None
    return _validate(_without(value, [detail["loc"] for detail in details]))


def _validate(value: Value) -> ConfigurationFile:
    # As JSON, because in pydantic's strict mode only there a list is a tuple's written form.
    return adapter().validate_json(json.dumps(value))


def _without(value: Value, locations: list[Location]) -> Value:
    """The value without these keys; what aliases share is copied first."""
    kept: Any = json.loads(json.dumps(value))
    for *parents, last in locations:
        around = kept
        for part in parents:
            around = around[part]
        around.pop(last, None)
    result: Value = kept
    return result


def _is_expendable(detail: ErrorDetails) -> bool:
    """Whether leaving the key out gives no errors that are not in the file."""
    location = detail["loc"]
    if detail["type"] == _UNKNOWN_KEY:
        return True
    return bool(location) and _ENTANGLED.isdisjoint(location) and _has_default(location)


def _is_echo(detail: ErrorDetails) -> bool:
    """Whether a list is called too short only because its items have errors of their own."""
    return detail["type"] == "too_short" and bool(detail["input"])


def _tell(detail: ErrorDetails, findings: Findings) -> None:
    location: Location = detail["loc"]
    error = detail.get("ctx", {}).get("error")
    if detail["type"] == _UNKNOWN_KEY:
        known = _section_schema(location[:-1]).get("properties", {})
        hint = suggestion(str(location[-1]), known)
        findings.problem(location, "a known key", hint=hint, at_key=True)
    elif not isinstance(error, Unfit):
        _tell_type(detail, findings)
    elif location[-1] == "[key]":
        # A mapping's own key does not fit; pydantic says so by a part of its own.
        findings.problem(location[:-1], error.expected, hint=error.hint, at_key=True)
    else:
        findings.unfit(location, error, describe(detail["input"]))


def _tell_type(detail: ErrorDetails, findings: Findings) -> None:
    """One of pydantic's own errors."""
    sort, location, value = detail["type"], detail["loc"], detail["input"]
    expected = _EXPECTED[sort](detail.get("ctx", {})) if sort in _EXPECTED else detail["msg"]
    hint = ""
    if sort == "missing":
        found = ""
    elif sort == "too_short":
        found = "none"
    else:
        found = (kind if sort in _CONTAINERS else describe)(value)
        if value is None and location and _has_default(location):
            hint = "leave the key out for its default"
    findings.problem(location, expected, found, hint)


def _has_default(location: Location) -> bool:
    """Whether the key of this location may be left out."""
    around = _section_schema(location[:-1])
    return location[-1] in around.get("properties", {}) and (
        location[-1] not in around.get("required", ())
    )


def _section_schema(section: Location) -> dict[str, Any]:
    """The schema of the mapping at a location."""
    schema = _resolve(json_schema())
    for part in section:
        if isinstance(part, int):
            inner = schema.get("items", {})
        else:
            inner = schema.get("properties", {}).get(part) or schema.get("additionalProperties")
        schema = _resolve(inner or {})
    return schema


def _resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, and an optional value to what it is when it is there."""
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return _resolve(choice)
    if "$ref" in schema:
        found: dict[str, Any] = json_schema()["$defs"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema
