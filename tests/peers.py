"""Real servers for tests: nginx and `openssl s_server`, on loopback, with files in tmp_path.

Owns child processes: each is ready when `with` is entered and gone when it is left. All that
waits here is bounded, and a server that dies at start reports what it wrote.

    with Nginx(tmp_path, certificate=ca.issue(["localhost"])) as nginx:
        connect(nginx.host, nginx.port)
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.certs import Issued

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0

# Says which backend connection carried the request, how many it had carried then, and whether
# its TLS session was resumed ("r") or new (".").
DEFAULT_LOCATIONS = """
    location / { return 200 "hello from nginx\\n"; }
    location /connection { return 200 "$connection $connection_requests $ssl_session_reused"; }
"""


_GIVEN: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago, and is nobody else's of this run.

    Below those that the kernel gives to clients (ip_local_port_range): one of these may take it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = random.randrange(10_000, 32_000)  # noqa: S311  not a secret
        if port in _GIVEN:
            continue
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        _GIVEN.add(port)
        return port


class Peer:
    """A server process that listens on `host`:`port`; `with` or `async with` bounds its life."""

    def __init__(self, directory: Path, command: Sequence[str], host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._command = command
        self._output = directory / f"peer-{port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        """What the process wrote to stdout and stderr so far."""
        return self._output.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The server's process id while it runs."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it accepts connections."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            try:
                # The event that ends the wait early is the process's death.
                self._process.wait(0.01)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                self.stop()
                raise TimeoutError(f"not listening after {START_TIMEOUT_S} s") from None
            self.stop()
            raise RuntimeError(f"{self._command[0]} ended at start: {self.output}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Signal the process and wait for its end; killed when it does not obey in time."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _accepts(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)


class Nginx(Peer):
    """Debian's nginx with one server block: HTTPS when a certificate is given, else HTTP.

    `locations` is the inside of the server block, `http` more of the http block. PUT into
    `location /x { root <dir>; dav_methods PUT; create_full_put_path on; }` stores uploads.
    """

    def __init__(
        self,
        directory: Path,
        *,
        certificate: Issued | None = None,
        locations: str = DEFAULT_LOCATIONS,
        http: str = "",
        host: str = "127.0.0.1",
        port: int | None = None,
    ) -> None:
        port = port or free_port(host)
        home = directory / f"nginx-{port}"
        home.mkdir()
        self.access_log = home / "access.log"
        self.error_log = home / "error.log"
        config = home / "nginx.conf"
        config.write_text(self._config(home, certificate, locations, http, host, port))
        command = ["/usr/sbin/nginx", "-p", str(home), "-e", str(self.error_log), "-c", str(config)]
        super().__init__(home, command, host, port)
        self.url = f"{'https' if certificate else 'http'}://{_bracketed(host)}:{port}"

    def _config(
        self,
        home: Path,
        certificate: Issued | None,
        locations: str,
        http: str,
        host: str,
        port: int,
    ) -> str:
        listen = f"listen {_bracketed(host)}:{port} backlog=4096"
        if certificate is not None:
            files = certificate.write(home)
            listen += (
                f" ssl;\n    ssl_certificate {files.cert};\n    ssl_certificate_key {files.key}"
            )
        temporary = "".join(
            f"  {kind}_temp_path {home}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # Workers drop to nobody by default, who may not read the test's directory.
        user = "user root;\n" if os.geteuid() == 0 else ""
        return f"""{user}daemon off;
pid {home}/nginx.pid;
worker_processes 1;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
{temporary}  access_log {self.access_log};
  client_max_body_size 0;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tests:1m;
  keepalive_timeout 75s;
  keepalive_requests 1000000;
{http}
  server {{
    {listen};
{locations}
  }}
}}
"""


class OpensslServer(Peer):
    """`openssl s_server`; what it receives is written to `output`.

    `options` are its own, for example `["-www"]`, `["-rev"]` or `["-tls1_2"]`.
    """

    def __init__(
        self,
        directory: Path,
        certificate: Issued,
        options: Sequence[str] = (),
        *,
        host: str = "127.0.0.1",
    ) -> None:
        port = free_port(host)
        files = certificate.write(directory, f"s_server-{port}")
        command = ["openssl", "s_server", "-accept", f"{_bracketed(host)}:{port}", "-cert"]
        command += [str(files.cert), "-cert_chain", str(files.cert), "-key", str(files.key)]
        super().__init__(directory, [*command, *options], host, port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
