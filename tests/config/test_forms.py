"""What each kind of key takes, at its bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from proxy.config import forms

HUGE = 10**400


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (forms.Seconds, [1, 0.001, 86_400], [0, -1, 86_400.1, 1e300, "1", None, True]),
        (forms.HandshakeSeconds, [0.5, 600], [0, 600.1]),
        (forms.Count, [1, 10_000_000], [0, -1, 10_000_001, 1.5, "1", HUGE]),
        (forms.CountOrNone, [0, 10_000_000], [-1, 10_000_001]),
        (forms.Processes, [1, 256], [0, 257]),
        (forms.Share, [0.001, 1], [0, -0.1, 1.001, "half", HUGE]),
        (forms.Size, [1, "1KiB", 1 << 50], [0, "0KiB", (1 << 50) + 1, "1KB"]),
        (forms.HelloSize, [512, "64KiB", (1 << 24) - 1], [511, "16MiB"]),
        (forms.Workers, ["auto", 1, 256], [0, 257, "all", None]),
        (forms.Address, ["127.0.0.1:1", "unix:a"], ["localhost:1", 1]),
        (forms.TcpAddress, ["127.0.0.1:1"], ["unix:a"]),
        (forms.Network, ["10.0.0.0/8", "::/0"], ["10.0.0.1/8", "::1", 10]),
        (forms.ServerUrl, ["https://a"], ["ftp://a", None]),
    ],
)
def test_bounds(form: Any, good: list[object], bad: list[object]) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(form)
    for value in good:
        adapter.validate_json(json.dumps(value), strict=True)
    for value in bad:
        with pytest.raises(ValidationError):
            adapter.validate_json(json.dumps(value), strict=True)


def test_the_schema_tells_the_written_form() -> None:
    def schema(form: Any) -> dict[str, object]:
        adapter: TypeAdapter[object] = TypeAdapter(form)
        return adapter.json_schema()

    assert schema(forms.Network) == schema(forms.Address) == {"type": "string"}
    assert schema(forms.Share) == {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    assert schema(forms.Size)["type"] == ["integer", "string"]
