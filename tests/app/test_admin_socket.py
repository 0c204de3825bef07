"""The UNIX admin socket of a real supervisor."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from proxy.app.admin_socket import AdminUnreachable, ask
from tests.app.supervised import Make, Supervised, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


@pytest.fixture
def run(make: Make, path: Path) -> Supervised:
    started = make(socket=str(path), workers=2)
    started.running()
    return started


def test_only_its_user_may_connect(run: Supervised, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_status(run: Supervised, path: Path) -> None:
    run.client()
    for _ in until():
        answer = ask(path, "status")
        if all(process["state"] == "serving" for process in answer["status"]["processes"]):
            break
    status = answer["status"]
    assert answer["ok"] is True
    assert (status["phase"], status["ready"], status["healthy"]) == ("running", True, True)
    assert status["generation"] == 1
    assert status["listeners"] == [{"name": "public", "bind": run.listeners[0]}]
    processes = {(one["role"], one["slot"]): one for one in status["processes"]}
    assert processes.keys() == {("front", 0), ("worker", 0), ("worker", 1)}
    assert sorted(one["pid"] for one in processes.values()) == sorted(run.pids())
    assert processes["front", 0]["connections"] == 1
    assert status["backends"] == [
        {"backend": "app", "server": "https://one:443", "healthy_in": 2, "workers": 2},
        {"backend": "app", "server": "https://two:443", "healthy_in": 0, "workers": 2},
    ]


@pytest.mark.requirement("A23")
def test_reload(run: Supervised, path: Path) -> None:
    run.write(run.wishes)
    assert ask(path, "reload") == {"ok": True, "generation": 2}
    run.spoil()
    answer = ask(path, "reload")
    assert answer["ok"] is False
    assert "wishes.json:1:1:" in answer["error"]
    status = ask(path, "status")["status"]
    assert status["generation"] == 2
    assert status["last_reload"]["success"] is False
    assert status["last_reload"]["error"] == answer["error"]


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"[1]\n", b"nonsense\n", b'{"command": 1}\n'])
def test_other_commands_are_refused(run: Supervised, path: Path, line: bytes) -> None:
    assert raw(path, line) == {"ok": False, "error": "expected a command: status or reload"}


def test_an_endless_line_is_cut(run: Supervised, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(20)
        channel.connect(str(path))
        try:
            channel.sendall(b"x" * 1_000_000)
            assert channel.recv(100) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert ask(path, "status")["ok"]
    assert "Traceback" not in run.text


def _said_to_nobody(path: Path) -> str:
    """What curl, run by another user, reads from the socket."""
    done = subprocess.run(
        ["curl", "-s", "--http0.9", "--unix-socket", str(path), "http://admin/"],
        user=65534,
        group=65534,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_refused_even_where_the_file_lets_them(make: Make) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        path = Path(directory) / "admin.sock"
        make(socket=str(path)).running()
        path.chmod(0o666)
        # The answer comes before the request is read, so any client shows it, unless it is still
        # writing its request when the connection ends.
        said = next(filter(None, (_said_to_nobody(path) for _ in range(50))))
        assert json.loads(said) == {"ok": False, "error": "not permitted"}
        assert ask(path, "status")["ok"]


def test_nobody_there(path: Path) -> None:
    with pytest.raises(AdminUnreachable, match="No such file or directory"):
        ask(path, "status")


def test_its_file_goes_with_the_supervisor(run: Supervised, path: Path) -> None:
    run.process.terminate()
    assert run.ended() == 0
    assert not path.exists()


def raw(path: Path, line: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(20)
        channel.connect(str(path))
        channel.sendall(line)
        answer: dict[str, Any] = json.loads(channel.makefile().readline())
    return answer
