"""The demo's backend, asked directly by curl."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.app.demo.authority import issue_demo_certificates


@dataclass
class Backend:
    """A running backend, and the pipe whose end ends it."""

    url: str
    ca: Path
    life: int
    process: subprocess.Popen[bytes]

    def curl(self, path: str, *options: str) -> bytes:
        return subprocess.run(
            ["curl", "-sS", "--fail", "--cacert", self.ca, *options, self.url + path],
            capture_output=True,
            check=True,
            timeout=30,
        ).stdout


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    files = issue_demo_certificates(tmp_path, [("backend", ["127.0.0.1"])])["backend"]
    read, write = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "proxy.app.demo.backend"),
                *("--listen-fd", str(listener.fileno()), "--life-fd", str(read)),
                *(str(files.certificate), str(files.key)),
            ],
            pass_fds=(listener.fileno(), read),
        )
    os.close(read)
    running = Backend(f"https://127.0.0.1:{port}", tmp_path / "ca.pem", write, process)
    yield running
    if running.life >= 0:
        os.close(running.life)
    assert process.wait(20) == 0


def test_it_echoes_the_request(backend: Backend) -> None:
    answer = json.loads(backend.curl("/hello?x=1", "-H", "X-Colour: blue"))
    assert (answer["method"], answer["path"]) == ("GET", "/hello?x=1")
    assert "X-Colour: blue" in answer["fields"]
    assert answer["body"] == {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}


@pytest.mark.parametrize("options", [(), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect:")])
def test_it_digests_a_body(backend: Backend, tmp_path: Path, options: tuple[str, ...]) -> None:
    body = os.urandom(3_000_000)
    file = tmp_path / "body"
    file.write_bytes(body)
    answer = json.loads(backend.curl("/", "--data-binary", f"@{file}", *options))
    assert answer["method"] == "POST"
    assert answer["body"] == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def test_it_says_continue(backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"x")
    shown = backend.curl("/", "-i", "-H", "Expect: 100-continue", "--data-binary", f"@{file}")
    assert shown.startswith(b"HTTP/1.1 100 Continue\r\n")


@pytest.mark.parametrize("size", [0, 1, 65_529, 65_530, 65_531, 1_000_000])
def test_it_streams_bytes(backend: Backend, size: int) -> None:
    assert len(backend.curl(f"/bytes/{size}")) == size


def test_head_has_no_body(backend: Backend) -> None:
    shown = backend.curl("/bytes/1000", "-I")
    assert b"Content-Length: 1000\r\n" in shown


def test_a_connection_serves_many_requests(backend: Backend) -> None:
    shown = backend.curl("/a", "-w", "%{num_connects}", f"{backend.url}/b", "-o", "/dev/null")
    assert shown.endswith(b"0")


def test_it_ends_with_the_demo_even_if_that_is_killed(backend: Backend) -> None:
    backend.curl("/")
    os.close(backend.life)  # what the kernel does for a process that is killed
    backend.life = -1
    assert backend.process.wait(20) == 0
