"""A real `vestibule run -c FILE`: its processes, its numbers, its end.

Owns the process group of one proxy. Rules: shipped defaults, but for addresses and paths and what
a test names; `with` bounds its life, and leaving it checks that nothing outlived it and that no
log shows a traceback, unless the test provokes one.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import yaml
from prometheus_client.parser import text_string_to_metric_families

from proxy.app import ask
from tests.certs import Files
from tests.peers import free_port

__all__ = ["LIMIT_S", "Scrape", "Vestibule", "configuration", "eventually", "gone"]

LIMIT_S = 30.0
"""For what should take well under a second: a busy machine must not fail a test."""

_PATIENCE_S = 1.0
"""From the first SIGTERM, which drains, to the second, which does not."""

COMMAND = Path(sys.executable).with_name("vestibule")

T = TypeVar("T")


def eventually(probe: Callable[[], T], limit_s: float = LIMIT_S) -> T:
    """The first true answer of `probe`: for what has no event that could be waited for."""
    deadline = time.monotonic() + limit_s
    pause = threading.Event()
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {probe}"
        pause.wait(0.02)
    return answer


def gone(pid: int) -> None:
    """Wait until a process, which need not be our child, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], LIMIT_S)[0], f"process {pid} lives on"
    finally:
        os.close(descriptor)


def configuration(
    certificate: Files,
    backend: str,
    ca: Path,
    *,
    bind: Sequence[str] = (),
    **sections: Mapping[str, Any],
) -> dict[str, Any]:
    """One listener, one https backend that is called `localhost`; `sections` as in the file."""
    return {
        "listeners": [
            {
                "name": "public",
                "bind": list(bind) or [f"127.0.0.1:{free_port()}"],
                "server_names": [
                    {
                        "names": ["localhost"],
                        "default": True,
                        "certificates": [
                            {"cert_file": str(certificate.cert), "key_file": str(certificate.key)}
                        ],
                        "routes": [{"backend": "app"}],
                    }
                ],
            }
        ],
        "backends": {
            "app": {
                "servers": [backend],
                "tls": {"ca_file": str(ca), "server_name": "localhost"},
            }
        },
        **sections,
    }


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of the name that carry these labels; 0 where there is none."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The samples of the name by the values of these labels."""
        found: dict[tuple[str, ...], float] = {}
        for sample in self._samples:
            if sample.name == name:
                key = tuple(sample.labels[label] for label in labels)
                found[key] = found.get(key, 0.0) + sample.value
        return found


class Vestibule:
    """A proxy over `content`, the configuration file's; admin addresses are added to it."""

    def __init__(
        self,
        directory: Path,
        content: dict[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        may_log_tracebacks: bool = False,
    ) -> None:
        """`before` is put in front of the command, such as prlimit with its options."""
        self.directory = directory
        self.admin_port = free_port()
        self.config_file = directory / "vestibule.yaml"
        self.write(content)
        self._command = [*before, str(COMMAND), "run", "-c", str(self.config_file)]
        self._environment = dict(environment or {})
        self._may_log_tracebacks = may_log_tracebacks
        self.expected_status = 0
        """What it has to end with."""
        self._log_file = directory / "vestibule.log"
        self._access_file = directory / "access.log"
        self._process: subprocess.Popen[bytes] | None = None

    # --- where it is -----------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The TCP port of the first address that has one."""
        binds = self.content["listeners"][0]["bind"]
        return int(next(bind for bind in binds if bind[:5] != "unix:").rpartition(":")[2])

    @property
    def url(self) -> str:
        """How clients name it."""
        return f"https://localhost:{self.port}"

    @property
    def log(self) -> str:
        """What all its processes wrote so far, the access log left out."""
        return self._log_file.read_text(errors="replace")

    @property
    def access_log(self) -> str:
        """One line for each request."""
        return self._access_file.read_text(errors="replace")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor."""
        assert self._process is not None
        return self._process

    # --- life ------------------------------------------------------------------------------

    def write(self, content: dict[str, Any]) -> None:
        """Replace the configuration file; `signal(SIGHUP)` makes it count."""
        self.content = content
        admin = {
            "listen": f"127.0.0.1:{self.admin_port}",
            "socket": str(self.directory / "admin.sock"),
        }
        self.config_file.write_text(yaml.safe_dump({**content, "admin": admin}))

    def start(self) -> None:
        """Start it and wait until it serves."""
        with self._log_file.open("ab") as log, self._access_file.open("ab") as access:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=access,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        eventually(self._serves)

    def signal(self, number: signal.Signals) -> None:
        """Signal the supervisor."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait until it has ended by itself, with all its processes; the exit status."""
        status = self.process.wait(LIMIT_S)
        eventually(lambda: not self._group())
        return status

    def stop(self) -> None:
        """End it without draining. Nothing may be left."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGTERM)
        assert self.ended() == self.expected_status, self.log

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            self._kill()
        if not self._may_log_tracebacks:
            assert "Traceback" not in self.log, self.log
            assert "internal_error" not in self.log + self.access_log

    # --- what it tells ---------------------------------------------------------------------

    def metrics(self) -> Scrape:
        """A scrape, with fresh numbers of every process."""
        status, body = self._ask("/metrics")
        assert status == 200, body
        return Scrape(body)

    def metric(self, name: str, **labels: str) -> float:
        """One number of a scrape."""
        return self.metrics().value(name, **labels)

    def status(self) -> dict[str, Any]:
        """What `vestibule status --json` shows."""
        found: dict[str, Any] = ask(self.directory / "admin.sock", "status")["status"]
        return found

    def processes(self, role: str) -> list[dict[str, Any]]:
        """The processes of a role, as status shows them."""
        return [one for one in self.status()["processes"] if one["role"] == role]

    def pids(self, role: str) -> list[int]:
        """The process ids of a role."""
        return [one["pid"] for one in self.processes(role)]

    def all_pids(self) -> list[int]:
        """The supervisor's and all others'."""
        return [self.process.pid, *self.pids("front"), *self.pids("worker")]

    def connections(self, role: str) -> int:
        """Client connections that processes of a role hold now."""
        return sum(one["connections"] or 0 for one in self.processes(role))

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of this event so far."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") == name]

    def _ask(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=LIMIT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self._ask("/readyz")[0] == 200
        except OSError:
            return False

    def _group(self) -> list[int]:
        """Processes of its session that exist: children are in it too."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(int(entry.name))
        return found

    def _kill(self) -> None:
        if self._process is None:
            return
        for pid in self._group():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
