"""`vestibule demo` as a newcomer runs it: real processes, real curl."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.app.demo.demo import Listen
from proxy.app.failures import OperatorError
from tests.app.supervised import children_of, gone

COMMAND = (sys.executable, "-m", "proxy", "demo")


class Demo:
    """A running demo with what it said until it was ready."""

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if line.startswith("Ctrl-C"):
                break
        self.commands = [line.strip() for line in self.said.splitlines() if line.startswith("  ")]

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Signal it; its exit status and what it said on stderr."""
        pids = children_of(self.process.pid)
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        for pid in pids:
            gone(pid)
        return self.process.returncode, errors


@contextlib.contextmanager
def demo(*options: str, **environment: str) -> Iterator[Demo]:
    running = Demo(*options, environment=environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGTERM)


def shell(command: str) -> str:
    """Run a line as a user would paste it."""
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    ).stdout


@pytest.mark.requirement("A41", "A42", "A62")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_it_prints_works_and_nothing_stays(tmp_path: Path, number: signal.Signals) -> None:
    with demo("--listen", "127.0.0.1:0", TMPDIR=str(tmp_path)) as running:
        hello, stream, openssl, metrics, status = running.commands
        answer = json.loads(shell(f"{hello} -sS"))
        assert answer["path"] == "/hello"
        assert any(field.startswith("X-Request-Id: ") for field in answer["fields"])
        shell(f"{stream} -sS")
        assert "Verify return code: 0 (ok)" in shell(openssl)
        assert "vestibule_handshakes_total" in shell(f"{metrics} -sS")
        assert "running, ready" in shell(status)
        assert len(list(tmp_path.iterdir())) == 1
        assert running.end(number) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_named_directory_stays_and_can_be_used_again(tmp_path: Path) -> None:
    home = tmp_path / "new" / "demo"
    authorities = set()
    for _ in range(2):
        with demo("--listen", "127.0.0.1:0", "--dir", str(home)) as running:
            authorities.add((home / "ca.pem").read_text())
            assert json.loads(shell(f"{running.commands[0]} -sS"))["method"] == "GET"
            assert running.end(signal.SIGTERM)[0] == 0
        left = sorted(path.name for path in home.iterdir())
        assert left == [
            *("backend.key", "backend.pem", "ca.pem"),
            *("localhost.key", "localhost.pem", "vestibule.yaml"),
        ]
    assert len(authorities) == 2


def test_somebody_elses_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "vestibule.yaml").write_text("listeners: []\n")
    done = subprocess.run(
        [*COMMAND, "--listen", "127.0.0.1:0", "--dir", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == f"vestibule: --dir {tmp_path}: not empty, and not from a former demo\n"
    assert [path.name for path in tmp_path.iterdir()] == ["vestibule.yaml"]


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [*COMMAND, "--listen", where],
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"vestibule: cannot listen on {where}: Address already in use\n"
    assert list(tmp_path.iterdir()) == []


def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    with demo("--listen", "[::1]:0", TMPDIR=str(tmp_path)) as running:
        pids = children_of(running.process.pid)
        assert len(pids) >= 3
        running.process.kill()
        running.process.communicate(timeout=30)
        for pid in pids:
            gone(pid)


@pytest.mark.parametrize(
    "text", ["", "8443", "localhost:8443", "::1:8443", "[127.0.0.1]:1", "1.2.3.4:70000", "1.2.3.4:"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(OperatorError, match="expected ADDRESS:PORT"):
        Listen.parse(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("127.0.0.1:1", "localhost"),
        ("0.0.0.0:1", "localhost"),
        ("[::1]:1", "localhost"),
        ("192.0.2.1:1", "192.0.2.1"),
        ("[2001:db8::1]:1", "[2001:db8::1]"),
    ],
)
def test_the_name_in_urls(text: str, name: str) -> None:
    listen = Listen.parse(text)
    assert (str(listen), listen.name) == (text, name)
