"""What the end-to-end tests share: an authority, nginx as HTTPS backend, proxies, a report.

Rules: a test that leaves its proxy as it found it uses `vestibule`, which is started once for all
of a module; one that kills, fills or reloads it makes its own.
"""

from __future__ import annotations

import json
import resource
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.certs import Files, ThrowAwayCa
from tests.e2e.deployment import LIMIT_S, Vestibule, configuration
from tests.peers import Nginx, free_port

_LINES = pytest.StashKey[list[str]]()

Report = Callable[..., None]

PAGE = "<!doctype html><title>A page</title><p id=said>nginx says hello through Vestibule</p>\n"


class Authority(ThrowAwayCa):
    """The authority of a run, with its certificate as a file."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.file = self.write(directory)
        self.directory = directory

    def files(self, name: str = "server", *, key: str = "ecdsa-p256") -> Files:
        """A fresh certificate for localhost."""
        issued = self.issue(["localhost", "127.0.0.1", "::1"], key=key)
        return issued.write(self.directory, name)

    def trusting(self) -> ssl.SSLContext:
        """A client's context that trusts nobody else."""
        return ssl.create_default_context(cafile=str(self.file))


class Backend(Nginx):
    """nginx with a page, uploads, slow answers, and the count of connections it has accepted."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.root = directory / "www"
        self.uploads = directory / "uploads"
        for path in (self.root, self.uploads):
            path.mkdir()
            path.chmod(0o777)
        (self.root / "index.html").write_text(PAGE)
        self.status_port = free_port()
        self._asked = 0
        super().__init__(
            directory,
            certificate=authority.issue(["localhost"]),
            locations=f"""
    root {self.root};
    default_type text/html;
    location /upload/ {{ alias {self.uploads}/; dav_methods PUT DELETE; }}
    location /connection {{ return 200 "$connection $connection_requests"; }}
""",
            http=f"""
  server {{
    listen 127.0.0.1:{self.status_port};
    location / {{ stub_status; }}
  }}
""",
        )

    def accepted(self) -> int:
        """TCP connections accepted for clients so far; those that ask this are left out."""
        with socket.create_connection(("127.0.0.1", self.status_port), timeout=LIMIT_S) as asking:
            asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with asking.makefile("rb") as answer:
                numbers = answer.read().partition(b"requests")[2].split()
        self._asked += 1
        return int(numbers[0]) - self._asked

    def settings(self, authority: Authority, certificate: Files, **more: Any) -> dict[str, Any]:
        """A proxy's configuration in front of it."""
        return configuration(certificate, self.url, authority.file, **more)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def _descriptors() -> None:
    """Tests hold thousands of connections: use all that may be had."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one that clients and proxies trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Backend]:
    """nginx, for all tests."""
    if shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("nginx is not installed")
    directory = tmp_path_factory.mktemp("backend")
    with Backend(directory, authority) as running:
        yield running


@pytest.fixture(scope="module")
def vestibule(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, backend: Backend
) -> Iterator[Vestibule]:
    """A proxy with shipped defaults in front of nginx, for all tests of a module."""
    directory = tmp_path_factory.mktemp("vestibule")
    with Vestibule(directory, backend.settings(authority, authority.files())) as running:
        yield running


@pytest.fixture
def report(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Report:
    """Note a measurement: `report("title", clients=3000, ...)`, printed and written to a file.

    Where there is a `table`, its lines are printed instead of the numbers.
    """

    def note(title: str, *, table: Sequence[str] = (), **numbers: object) -> None:
        for name, value in numbers.items():
            record_property(name, value)
        shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in numbers.items())
        lines = [f"{title}:", *(f"  {line}" for line in table)] if table else [f"{title}: {shown}"]
        request.config.stash.setdefault(_LINES, []).extend(lines)
        directory = request.config.getoption("--report-dir")
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            name = "".join(one if one.isalnum() else "-" for one in request.node.name)
            (directory / f"{name}.json").write_text(
                json.dumps({"title": title, **numbers}, indent=2) + "\n"
            )

    return note
