"""The servers' configurations: their programs take them, and Vestibule its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.config import load
from tests.bench.peers import KEYS, NGINX, Missing, Peers, program, rendered


@pytest.fixture
def peers(tmp_path: Path) -> Peers:
    return Peers.prepared(tmp_path, 0, 1)


def test_a_template_without_a_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="no value for '@HOME@"):
        rendered("nginx.conf", {})


def test_both_certificates_are_written_for_all_kinds_of_servers(peers: Peers) -> None:
    for key in KEYS:
        both = (peers.home / f"{key}.both").read_text()
        assert both.index("BEGIN CERTIFICATE") < both.index("PRIVATE KEY")
        for secret in (f"{key}.key", f"{key}.both"):
            assert (peers.home / secret).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("answer", ["direct", "retry", "adaptive"])
def test_vestibule_takes_its_configuration(peers: Peers, answer: str) -> None:
    server = peers.vestibule(answer, fronts=4)
    loaded = load(peers.home / f"{answer}-4.yaml")
    assert [one.name for one in loaded.front.listeners] == list(KEYS)
    assert {one.answer.value for one in loaded.front.listeners} == {answer}
    assert (loaded.processes.fronts, loaded.processes.workers) == (4, 1)
    assert {address.port for one in loaded.front.listeners for address in one.bind} == set(
        server.ports.values()
    )


@pytest.mark.parametrize("name", [NGINX, "nginxt"])
def test_nginx_takes_its_configuration(peers: Peers, name: str) -> None:
    try:
        nginx = program("nginx")
    except Missing:
        pytest.skip("nginx is not installed")
    peers.server(name)
    path = peers.home / f"{name}.conf"
    errors = str(peers.home / "err")
    done = subprocess.run(
        [nginx, "-t", "-e", errors, "-c", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if name == "nginxt":
        assert "ssl_buffer_size 16k" in path.read_text()


def test_uvloops_own_ssl_passes_requests_on(peers: Peers) -> None:
    try:
        backend = peers.backend()
    except Missing:
        pytest.skip("nginx is not installed")
    with backend, peers.server("uvloop-ssl") as server:
        for port in server.ports.values():
            size = subprocess.run(
                [
                    *("curl", "-sS", "--cacert", peers.home / "ca.pem", "-w", "%{size_download}"),
                    *("-o", "/dev/null", f"https://localhost:{port}/big"),
                ],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert size.stdout == str(256 << 20), size.stderr


def test_a_program_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Missing, match="no-such-program is not installed"):
        program("no-such-program")
    monkeypatch.setenv("PATH", "")
    assert program("nginx" if shutil.which("nginx", path="/usr/sbin") else "ldconfig")
