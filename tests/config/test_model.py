"""The shipped files: vestibule.yaml has every key with its default, minimal.yaml the fewest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from proxy.config import ConfigError, Configuration, load
from proxy.config.document import parse
from proxy.config.model import (
    AdminSection,
    BackendFailures,
    BackendPool,
    BackendTimeouts,
    BackendTlsSection,
    HttpSection,
    LimitsSection,
    LoggingSection,
    PressureSection,
    ProcessesSection,
    SourcesSection,
    TimeoutsSection,
)
from proxy.config.shape import adapter, json_schema
from tests.config.site import issued

CONFIG = Path(__file__).parents[2] / "config"
FULL = CONFIG / "vestibule.yaml"


def loaded(directory: Path, source: Path) -> Configuration:
    """The shipped file in a directory where the certificates that it names are."""
    (directory / "certs").mkdir()
    made = issued().write(directory / "certs", "example.org")
    made.cert.rename(made.cert.with_suffix(".crt"))
    (directory / source.name).write_bytes(source.read_bytes())
    return load(directory / source.name)


@pytest.mark.parametrize("name", ["vestibule.yaml", "minimal.yaml"])
def test_the_shipped_files_load(tmp_path: Path, name: str) -> None:
    assert loaded(tmp_path, CONFIG / name).cautions == ()


def schema_keys(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Every key that the model has, with [] for items and * for names."""
    if "$ref" in schema:
        yield from schema_keys(json_schema()["$defs"][schema["$ref"].rpartition("/")[2]], path)
    for choice in schema.get("anyOf", ()):
        yield from schema_keys(choice, path)
    if "items" in schema:
        yield from schema_keys(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from schema_keys(schema["additionalProperties"], f"{path}.*")
    for key, inner in schema.get("properties", {}).items():
        yield f"{path}.{key}"
        yield from schema_keys(inner, f"{path}.{key}")


def value_keys(value: object, path: str = "") -> Iterator[str]:
    """Every key of a document, in the same form."""
    if isinstance(value, list):
        for item in value:
            yield from value_keys(item, f"{path}[]")
    if isinstance(value, dict):
        for key, inner in value.items():
            step = f"{path}.*" if path == ".backends" else f"{path}.{key}"
            if path != ".backends":
                yield step
            yield from value_keys(inner, step)


def test_the_full_file_has_every_key_and_no_other() -> None:
    document = parse(FULL.read_bytes(), "vestibule.yaml")
    shown = set(value_keys(document.root.value))
    passphrase = ".listeners[].server_names[].certificates[].key_passphrase"
    # Shown as an alternative in the comment, so that the file works with a plain key.
    comment = re.findall(r"\{(\w+): ", FULL.read_text())
    shown |= {f"{passphrase}.{key}" for key in comment}
    assert shown == set(schema_keys(json_schema()))


def test_the_full_file_says_something_about_every_key() -> None:
    lines = FULL.read_text().splitlines()
    key = re.compile(r"^\s*(- )?[a-z_]+:")
    silent = []
    for number, line in enumerate(lines[:-1]):
        if not key.match(line):
            continue
        following = lines[number + 1].strip()
        if not following.startswith("#"):
            silent.append(line.strip())
    # What stands in these lines has its comment at its first showing, or is a name.
    assert silent == [
        "- names: [db.example.org]",
        "certificates:",
        "- cert_file: certs/example.org.crt",
        "key_file: certs/example.org.key",
        "app:",
        "database:",
    ]


def test_the_full_file_shows_the_defaults() -> None:
    document = parse(FULL.read_bytes(), "vestibule.yaml")
    assert "Where a line says nothing else, its value is the default" in FULL.read_text()
    shape = adapter().validate_json(json.dumps(document.root.value))
    sections = {
        "processes": ProcessesSection(),
        "timeouts": TimeoutsSection(),
        "limits": LimitsSection(),
        "pressure": PressureSection(),
        "sources": SourcesSection(),
        "http": HttpSection(),
        "admin": AdminSection(),
        "logging": LoggingSection(),
    }
    for name, default in sections.items():
        assert getattr(shape, name) == default
    app = shape.backends["app"]
    assert (app.tls, app.timeouts) == (BackendTlsSection(), BackendTimeouts())
    assert (app.pool, app.failures) == (BackendPool(), BackendFailures())
    listener = shape.listeners[0]
    for field in fields(listener):
        if field.name in ("answer", "dual_stack", "backlog"):
            assert getattr(listener, field.name) == field.default


def test_the_minimal_file_has_no_key_that_could_be_left_out(tmp_path: Path) -> None:
    loaded(tmp_path, CONFIG / "minimal.yaml")
    target = tmp_path / "minimal.yaml"
    lines = target.read_text().splitlines(keepends=True)
    spare = []
    for number, line in enumerate(lines):
        if not line.strip() or line.startswith("#"):
            continue
        target.write_text("".join(lines[:number] + lines[number + 1 :]))
        try:
            load(target)
        except ConfigError:
            continue
        spare.append(line.strip())
    # The two of which one is enough: a name and the default.
    assert spare == ["default: true"]
