"""The JSON Schema of the configuration file, for editors and for other tools.

Rules: generated from the model, so that it cannot lag behind; deterministic.
"""

from __future__ import annotations

import json
from typing import Any

from proxy.config.shape import json_schema

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> str:
    """The schema as JSON text; what `vestibule schema` prints."""
    document = {"$schema": _DIALECT, **_untitled(json_schema())}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _untitled(schema: Any) -> Any:
    """Without pydantic's titles of fields, which only repeat their keys."""
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _untitled(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }
