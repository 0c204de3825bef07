"""What the service manager is told, over a real datagram socket."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from proxy.app.notify import notify_manager


@pytest.mark.parametrize("abstract", [False, True])
def test_the_state_arrives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, abstract: bool) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind("\0" + path if abstract else path)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + path if abstract else path)
        notify_manager("READY=1")
        assert manager.recv(100) == b"READY=1"
        notify_manager("RELOADING=1", monotonic=True)
        state, _, stamp = manager.recv(100).partition(b"\n")
        assert state == b"RELOADING=1"
        assert stamp.removeprefix(b"MONOTONIC_USEC=").isdigit()


@pytest.mark.parametrize("name", ["", "relative", "/nowhere/at/all"])
def test_nobody_to_tell(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify_manager("READY=1")


def test_a_manager_that_does_not_read_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        for _ in range(1000):
            notify_manager("READY=1")
