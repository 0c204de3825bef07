"""pydantic's errors in the operator's words, whatever their kind."""

from __future__ import annotations

import pytest

from proxy.config.document import parse
from proxy.config.errors import ConfigError
from proxy.config.findings import Findings
from proxy.config.model import ConfigurationFile
from proxy.config.shape import json_schema, read
from tests.config.site import BASE, replaced


def shape(text: str) -> tuple[ConfigurationFile | None, list[str]]:
    findings = Findings(parse(text.encode(), "f"))
    model = read(findings)
    try:
        findings.close()
    except ConfigError as error:
        return model, str(error).splitlines()
    return model, []


def tail(*lines: str) -> str:
    return BASE + "\n".join(lines) + "\n"


def test_a_good_file_has_its_shape() -> None:
    model, problems = shape(BASE)
    assert problems == []
    assert model is not None
    assert model.listeners[0].server_names[0].routes is not None
    assert model.timeouts.hello_s == 10.0


@pytest.mark.parametrize(
    "text",
    [
        tail("colour: red", "limits: {half_opn: 1}"),
        tail("timeouts: {hello_s: 0}", "http: {attempts: x}", "logging:"),
        tail("    pool: {idle: -1}", "    tls: {verify: 1}"),
        replaced(4, "    anwser: direct"),
    ],
)
def test_problems_on_which_nothing_depends_do_not_end_the_check(text: str) -> None:
    model, problems = shape(text)
    assert problems
    assert model is not None
    assert shape(BASE)[0] == model


@pytest.mark.parametrize(
    "text",
    [
        replaced(7, "        default: maybe"),
        replaced(16, "    servers: [x]"),
        tail("    failures: {set_aside_s: 0}"),
        tail("admin: {listen: x}"),
        tail("http: {upgrades: [1]}"),
        tail('  "a b": {servers: ["https://a"]}'),
        "{}",
        "",
    ],
)
def test_problems_on_which_something_depends_do(text: str) -> None:
    model, problems = shape(text)
    assert problems
    assert model is None


def test_what_aliases_share_is_judged_at_each_use_and_left_alone() -> None:
    text = tail(
        "    pool: &pool {idle: 1, idel: 2}",
        '  other: {servers: ["https://a"], pool: *pool}',
    )
    model, problems = shape(text)
    assert problems == [
        'f:17:27: backends.app.pool.idel: expected a known key; did you mean "idle"?',
        'f:17:27: backends.other.pool.idel: expected a known key; did you mean "idle"?',
    ]
    assert model is not None
    assert [backend.pool.idle for backend in model.backends.values()] == [1, 1]


@pytest.mark.parametrize(
    ("tail_line", "problem"),
    [
        (
            "timeouts: {client_idle_s: 86401}",
            "timeouts.client_idle_s: expected at most 86400, found 86401",
        ),
        ("limits: {fields: -1}", "limits.fields: expected at least 1, found -1"),
        ("limits: {hello_bytes: 1KiB}", ""),
        ("limits: {hello_bytes: 511}", "limits.hello_bytes: expected at least 512, found 511"),
        (
            "limits: {hello_bytes: 16MiB}",
            'limits.hello_bytes: expected at most 16777215, found "16MiB"',
        ),
        ("limits: []", "limits: expected a mapping, found a list"),
        ("http: {via: null}", ""),
        ("http: {via: 7}", "http.via: expected text, found 7"),
        ("http: {via: {}}", "http.via: expected text, found a mapping"),
        (
            "http: {upgrades: }",
            "http.upgrades: expected a list, found nothing; leave the key out for its default",
        ),
        ("http: {trust_request_id: 1}", "http.trust_request_id: expected true or false, found 1"),
        (
            'http: {forwarding: "\\e[2J"}',
            'http.forwarding: expected "replace", "append" or "off", found "\\u001b[2J"',
        ),
    ],
)
def test_kinds_of_errors(tail_line: str, problem: str) -> None:
    _, problems = shape(tail(tail_line))
    assert [line.partition(": ")[2] for line in problems] == ([problem] if problem else [])


def test_the_schema_describes_every_key() -> None:
    schema = json_schema()
    sections = schema["$defs"]
    for section in (schema, *sections.values()):
        assert section["additionalProperties"] is False
        for key, value in section["properties"].items():
            # A section that is described as its key is stands there by reference alone.
            described = sections[value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            assert described.get("description"), f"{section['title']}.{key}"
