"""The JSON schema that `vestibule schema` prints."""

from __future__ import annotations

import json

from proxy.config import schema


def test_it_is_a_json_schema_without_noise() -> None:
    document = json.loads(schema())
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["description"].startswith("Vestibule's configuration file")
    assert document["required"] == ["listeners", "backends"]
    assert '"title"' not in schema()


def test_it_is_the_same_each_time() -> None:
    assert schema() == schema()


def test_keys_have_their_description_type_bounds_and_default() -> None:
    definitions = json.loads(schema())["$defs"]
    assert definitions["TimeoutsSection"]["properties"]["hello_s"] == {
        "default": 10.0,
        "description": "From accept to the whole ClientHello.",
        "exclusiveMinimum": 0,
        "maximum": 600,
        "type": "number",
    }
    assert definitions["LimitsSection"]["properties"]["head_bytes"]["type"] == ["integer", "string"]
    assert definitions["Listener"]["properties"]["answer"]["enum"] == [
        "direct",
        "retry",
        "adaptive",
    ]
    workers = definitions["ProcessesSection"]["properties"]["workers"]
    assert workers["anyOf"] == [{"minimum": 1, "type": "integer"}, {"const": "auto"}]
