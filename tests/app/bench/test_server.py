"""A server's life, and what is told of its processes."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
from pathlib import Path

import pytest

from proxy.app.bench.rotation import BurstFailed
from proxy.app.bench.server import REQUEST, Server, free_port
from proxy.app.bench.sites import Site
from proxy.app.failures import OperatorError
from tests.certs import ThrowAwayCa
from tests.e2e.deployment import eventually, gone


def openssl(directory: Path, *options: str) -> Server:
    """`openssl s_server`, which answers every request by a page."""
    authority = ThrowAwayCa()
    files = authority.issue(["localhost"]).write(directory)
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-www", *options]
    return Server(
        "openssl",
        [*command, "-cert", str(files.cert), "-key", str(files.key)],
        {"ecdsa": port},
        log=directory / "log",
        ca=authority.write(directory),
        core=min(os.sched_getaffinity(0)),
    )


def ask(server: Server, ca: Path) -> int:
    context = ssl.create_default_context(cafile=str(ca))
    with (
        socket.create_connection(("127.0.0.1", server.ports["ecdsa"])) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as channel,
    ):
        channel.sendall(REQUEST)
        return len(channel.recv(4096))


def test_it_serves_on_its_core_as_long_as_the_context_lasts(tmp_path: Path) -> None:
    with openssl(tmp_path) as server:
        (pid,) = server.pids
        assert os.sched_getaffinity(pid) == {min(os.sched_getaffinity(0))}
        assert server.private_bytes() > 100_000
    gone(pid)


def test_work_costs_cpu_time_by_its_units(tmp_path: Path) -> None:
    with openssl(tmp_path) as server:

        def burst() -> float:
            return sum(ask(server, tmp_path / "ca.pem") > 0 for _ in range(20))

        assert 50 < server.cpu_us_per(burst) < 50_000
        with pytest.raises(BurstFailed, match="openssl got nothing done"):
            server.cpu_us_per(lambda: 0)


def test_a_command_that_ends_tells_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"openssl does not serve: (.|\n)*no-such-option"):
        openssl(tmp_path, "-no-such-option").start()


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    server = Server("none", ["/nowhere/server"], {}, log=tmp_path / "log", ca=tmp_path / "ca")
    with pytest.raises(OperatorError, match="cannot start /nowhere/server: No such file"):
        server.start()


def test_a_server_that_died_gives_no_number(tmp_path: Path) -> None:
    with openssl(tmp_path) as server:
        (pid,) = server.pids
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(BurstFailed, match="openssl lost or replaced a process"):
            eventually(lambda: server.cpu_s() < 0)


def test_a_server_that_replaced_a_process_gives_no_number(site: Site) -> None:
    with site.vestibule("direct") as server:
        supervisor, *children = server.pids
        assert len(children) == 2
        assert server.cpu_s() > 0
        os.kill(children[0], signal.SIGKILL)
        gone(children[0])
        with pytest.raises(BurstFailed, match="vestibule direct lost"):
            server.cpu_s()
    for pid in (supervisor, *children):
        gone(pid)


def test_one_that_does_not_leave_is_killed(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    command = [sys.executable, "-c", deaf]
    server = Server("deaf", command, {}, log=tmp_path / "log", ca=tmp_path / "ca")
    with server:
        (pid,) = server.pids
        status = Path(f"/proc/{pid}/status")
        ignored = f"{1 << (signal.SIGTERM - 1):016x}"[-4:]
        eventually(
            lambda: any(
                line.startswith("SigIgn") and int(line.split()[1], 16) & int(ignored, 16)
                for line in status.read_text().splitlines()
            )
        )
    gone(pid)
