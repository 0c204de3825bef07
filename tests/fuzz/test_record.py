"""A client that is always there is recorded, and the seeds do what the client did."""

from pathlib import Path

import pytest

from tests.fuzz.clients import CLIENTS
from tests.fuzz.record import MODES, record
from tests.fuzz.targets import TARGETS

OUTCOMES = {
    "hello": "answered",
    "second_hello": "answered",
    "reply": "established",
    "records": "open",
}


@pytest.mark.parametrize("mode", MODES)
def test_record(mode: str) -> None:
    client = next(client for client in CLIENTS if client.name == "python")
    assert client.installed
    assert client.version().startswith("3.")
    recording = record(client, mode)
    assert recording is not None
    seeds = dict(recording.seeds(mode))
    expected = ["hello", "reply", "records"] if mode == "direct" else ["second_hello"]
    assert list(seeds) == expected
    for target, data in seeds.items():
        assert TARGETS[target](data) == OUTCOMES[target]


def test_a_client_that_is_not_there(tmp_path: Path) -> None:
    client = CLIENTS[0]
    missing = type(client)("none", str(tmp_path / "none"), ("none",), client.command)
    assert not missing.installed
