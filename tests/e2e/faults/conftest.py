"""What the tests of faults share: the answer policies, and proxies of their own.

Rule: every proxy here belongs to one test, which may kill, stop and starve its processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Authority, Backend
from tests.e2e.deployment import Vestibule, eventually
from tests.e2e.faults.steps import StepClient

ANSWERS = ("adaptive", "retry", "direct")
"""The policies that listeners can have. `--full-scale` provokes every fault under each; else those
two that differ are taken, and for a test that is marked `scale` the default alone."""

PATIENT = {"hello_s": 30.0, "reply_s": 30.0, "handshake_s": 60.0, "handoff_s": 30.0}
"""Clients here wait for what happens to others; a busy machine must not end them before that."""

Run = Callable[..., Vestibule]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "answer" not in metafunc.fixturenames:
        return
    few = 1 if metafunc.definition.get_closest_marker("scale") else 2
    is_full = metafunc.config.getoption("--full-scale")
    metafunc.parametrize("answer", ANSWERS if is_full else ANSWERS[:few])


@pytest.fixture
def run(tmp_path: Path, authority: Authority, backend: Backend, answer: str) -> Iterator[Run]:
    """Starts a proxy that answers by this policy: `run(processes={"workers": 2})`, with
    `environment` and `before` as Vestibule takes them."""
    with contextlib.ExitStack() as ends:

        def start(**sections: Any) -> Vestibule:
            options = {key: sections.pop(key) for key in {"environment", "before"} & set(sections)}
            sections["timeouts"] = {**PATIENT, **sections.get("timeouts", {})}
            content = backend.settings(authority, authority.files(), **sections)
            content["listeners"][0]["answer"] = answer
            return ends.enter_context(Vestibule(tmp_path, content, **options))

        yield start


def come(proxy: Vestibule, *, source_port: int = 0) -> StepClient:
    """A client of the proxy, connected."""
    client = StepClient(proxy.port, source_port=source_port)
    client.keyless = is_keyless(proxy)
    return client


def offers_made(proxy: Vestibule) -> float:
    """Connections that fronts have offered to workers so far, accepted or not."""
    keyless, others = "vestibule_retries_returned_total", "vestibule_handshakes_total"
    return proxy.metric(keyless if is_keyless(proxy) else others)


def is_keyless(proxy: Vestibule) -> bool:
    """Whether its fronts have no key."""
    return bool(proxy.content["listeners"][0]["answer"] == "retry")


def serving(proxy: Vestibule, role: str, count: int) -> None:
    """Wait until so many processes of a role serve."""

    def serve() -> bool:
        return [one["state"] for one in proxy.processes(role)] == ["serving"] * count

    eventually(serve)
