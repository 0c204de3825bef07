"""One server under measurement: its processes, their CPU time and memory, their end.

Rules: `with` bounds its life, and nothing of it outlives that; it is ready when it has answered a
request over TLS on each of its ports; a server whose processes change while it is measured gives no
number, because what the lost ones had used is lost too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.app.bench.processes import family, private_bytes, settled_cpu_s
from proxy.app.bench.rotation import BurstFailed
from proxy.app.failures import OperatorError

__all__ = ["REQUEST", "Server", "free_port"]

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

_HOST = "127.0.0.1"
_START_S = 30.0
_STOP_S = 3.0
_ATTEMPT_S = 2.0
_PAUSE_S = 0.05
_LOG_TAIL = 2000


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


class Server:
    """A command that serves TLS on 127.0.0.1; `ports` are named by what a client gets there."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        ports: Mapping[str, int],
        *,
        log: Path,
        ca: Path,
        core: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`core` is the only CPU that it may use; `ca` says whom to trust when it is asked."""
        self.name = name
        self.ports = dict(ports)
        self._command = list(command)
        self._log = log
        self._ca = ca
        self._core = core
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: list[int] = []

    @property
    def pids(self) -> list[int]:
        """Its processes. Raises BurstFailed when they are not those that it was started with."""
        process = self._running
        found = sorted(family(process.pid))
        if process.poll() is not None or (self._pids and found != self._pids):
            raise BurstFailed(f"{self.name} lost or replaced a process: {self._said()}")
        return found

    def cpu_s(self) -> float:
        """CPU time of all its processes once they are quiet. Raises BurstFailed."""
        try:
            return settled_cpu_s(self.pids)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise BurstFailed(f"{self.name} lost a process") from error

    def cpu_us_per(self, burst: Callable[[], float]) -> float:
        """Microseconds of CPU time for each unit that the burst says it got done."""
        before = self.cpu_s()
        units = burst()
        if units <= 0:
            raise BurstFailed(f"{self.name} got nothing done")
        return (self.cpu_s() - before) / units * 1e6

    def private_bytes(self) -> int:
        """Memory of all its processes, files' pages left out."""
        return private_bytes(self.pids)

    def start(self) -> None:
        """Start it and wait until it serves. Raises OperatorError."""
        with self._log.open("ab") as log:
            try:
                self._process = subprocess.Popen(  # noqa: S603  commands are our own
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,  # a terminal's Ctrl-C is our business
                )
            except OSError as error:
                raise OperatorError(f"cannot start {self._command[0]}: {error.strerror}") from error
        if self._core is not None:
            os.sched_setaffinity(self._process.pid, {self._core})
        deadline = time.monotonic() + _START_S
        for port in self.ports.values():
            while not self._answers(port):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise OperatorError(f"{self.name} does not serve: {self._said()}")
                time.sleep(_PAUSE_S)
        self._pids = sorted(family(self._process.pid))

    def stop(self) -> None:
        """End it with all its processes."""
        process, self._process, self._pids = self._process, None, []
        if process is None:
            return
        members = family(process.pid)
        for _ in range(2):  # to us the second SIGTERM means: at once
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_S / 10)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    def _answers(self, port: int) -> bool:
        context = ssl.create_default_context(cafile=str(self._ca))
        try:
            with (
                socket.create_connection((_HOST, port), timeout=_ATTEMPT_S) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as channel,
            ):
                channel.sendall(REQUEST)
                return b" 200 " in channel.recv(4096).partition(b"\r\n")[0]
        except OSError:
            return False

    def _said(self) -> str:
        said = self._log.read_text(errors="replace").strip() if self._log.exists() else ""
        return said[-_LOG_TAIL:] or "it said nothing"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
