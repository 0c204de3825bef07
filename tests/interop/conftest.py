"""A Vestibule for the judge: its certificates and backend, one for each answer mode and kind.

Rule: shipped defaults, but for the size of a hello and for what the judge asks of every server: an
answer in one record, and certificates that are signed by their own kind of key.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.certs import Files, ThrowAwayCa
from tests.e2e.deployment import Vestibule, configuration
from tests.interop.judge import Judge, Missing
from tests.interop.skips import ANSWERS, CERTIFICATES
from tests.peers import Nginx

_LINES = pytest.StashKey[list[str]]()


@dataclass(frozen=True, slots=True)
class Subject:
    """A running proxy, and what is special about it."""

    answer: str
    certificates: str
    port: int


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("tlsfuzzer")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def scores(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the end of the run."""
    return request.config.stash.setdefault(_LINES, [])


@pytest.fixture(scope="session")
def judge() -> Judge:
    """The judge; without one the test skips and says what is missing."""
    try:
        return Judge.find()
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx with an answer that fits into one record, as the scripts expect."""
    if shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("nginx is not installed")
    page = 'location / { return 200 "ok\\n"; }'
    with Nginx(tmp_path_factory.mktemp("backend"), locations=page) as running:
        yield running


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Files]]:
    """Certificates by kind. Each is signed by its own kind of key: strict clients ask for that."""
    directory = tmp_path_factory.mktemp("certificates")
    ecdsa, rsa = (
        ThrowAwayCa(key, key=key).issue(["localhost", "127.0.0.1"], key=key).write(directory, key)
        for key in ("ecdsa-p256", "rsa-2048")
    )
    return {"ecdsa": [ecdsa], "rsa": [rsa], "both": [ecdsa, rsa]}


@pytest.fixture(
    scope="module",
    params=[(answer, kind) for answer in ANSWERS for kind in CERTIFICATES],
    ids="-".join,
)
def subject(
    request: pytest.FixtureRequest,
    judge: Judge,
    tmp_path_factory: pytest.TempPathFactory,
    backend: Nginx,
    files: dict[str, list[Files]],
) -> Iterator[Subject]:
    """A proxy in an answer mode with a kind of certificates."""
    answer, kind = request.param
    directory = tmp_path_factory.mktemp("vestibule")
    with Vestibule(directory, _settings(answer, files[kind], backend.url, directory)) as running:
        yield Subject(answer, kind, running.port)


def _settings(answer: str, files: list[Files], backend: str, directory: Path) -> dict[str, Any]:
    # Scripts fill a hello's fields to their ends: 131 KiB (RFC 8446, Section 4.1.2).
    limits = {"hello_bytes": "256KiB"}
    content = configuration(files[0], backend, directory, limits=limits)
    content["backends"] = {"app": {"servers": [backend]}}
    listener = content["listeners"][0]
    listener["answer"] = answer
    listener["server_names"][0]["certificates"] = [
        {"cert_file": str(one.cert), "key_file": str(one.key)} for one in files
    ]
    return content
