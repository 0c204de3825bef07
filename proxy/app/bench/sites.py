"""What is measured: a throw-away Vestibule and, where it is installed, nginx, before one backend.

Rules: each serves the same certificate with one process for the work (for us one front and one
worker) on the same core, and logs no requests; all that is written is in one directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.app.bench.server import Server, free_port
from proxy.app.children import child_environment
from proxy.app.demo.authority import CertificateFiles, issue_demo_certificates

__all__ = ["Site", "find_nginx"]

_BACKEND_STOP_S = 5.0
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Debian keeps nginx there, and only root's path includes it."""


def find_nginx() -> str | None:
    """Where nginx is installed."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:{_SBIN}")


@dataclass(frozen=True, slots=True)
class Site:
    """A directory with certificates, a backend's port, and the cores to use."""

    home: Path
    files: CertificateFiles
    backend: int
    server_core: int | None
    load_core: int | None

    @classmethod
    @contextlib.contextmanager
    def prepared(cls, home: Path, server_core: int | None, load_core: int | None) -> Iterator[Site]:
        """Issue certificates and run the backend for as long as this lasts."""
        files = issue_demo_certificates(home, [("server", ["localhost"])])["server"]
        with _backend(load_core) as port:
            yield cls(home, files, port, server_core, load_core)

    @property
    def ca(self) -> Path:
        """Whom clients trust."""
        return self.home / "ca.pem"

    def vestibule(self, answer: str) -> Server:
        """A Vestibule that answers hellos in this way."""
        port = free_port()
        path = self.home / f"vestibule-{answer}.yaml"
        path.write_text(self._vestibule_configuration(answer, port))
        command = [sys.executable, "-P", "-m", "proxy", "run", "-c", str(path)]
        return self._server(f"vestibule {answer}", command, port)

    def nginx(self, program: str) -> Server:
        """nginx as a reverse proxy of one process."""
        port = free_port()
        path = self.home / "nginx.conf"
        path.write_text(self._nginx_configuration(port))
        errors = str(self.home / "nginx.err")
        command = [program, "-p", str(self.home), "-e", errors, "-c", str(path)]
        return self._server("nginx", command, port)

    def _server(self, name: str, command: list[str], port: int) -> Server:
        return Server(
            name,
            command,
            {"ecdsa": port},
            log=self.home / f"{name.replace(' ', '-')}.log",
            ca=self.ca,
            core=self.server_core,
            environment=child_environment(os.environ),
        )

    def _vestibule_configuration(self, answer: str, port: int) -> str:
        certificate = json.dumps(str(self.files.certificate))
        return f"""\
listeners:
  - name: bench
    bind: ["127.0.0.1:{port}"]
    answer: {answer}
    server_names:
      - default: true
        certificates: [{{cert_file: {certificate}, key_file: {json.dumps(str(self.files.key))}}}]
        routes: [{{backend: app}}]
backends:
  app: {{servers: ["http://127.0.0.1:{self.backend}"]}}
processes: {{fronts: 1, workers: 1}}
timeouts: {{hello_s: 600, reply_s: 600, handshake_s: 600, drain_s: 1}}
admin: {{listen: null, socket: null}}
logging: {{level: error, access: off}}
"""

    def _nginx_configuration(self, port: int) -> str:
        temporary = "".join(
            f"  {kind}_temp_path {_nginx_quoted(self.home / kind)};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""\
daemon off;
master_process off;
pid {_nginx_quoted(self.home / "nginx.pid")};
events {{ worker_connections 8192; }}
http {{
{temporary}  access_log off;
  client_header_timeout 600s;
  upstream app {{ server 127.0.0.1:{self.backend}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096;
    ssl_certificate {_nginx_quoted(self.files.certificate)};
    ssl_certificate_key {_nginx_quoted(self.files.key)};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:bench:10m;
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


def _nginx_quoted(path: Path) -> str:
    return json.dumps(str(path))


@contextlib.contextmanager
def _backend(core: int | None) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    with listener:
        port: int = listener.getsockname()[1]
        process = subprocess.Popen(  # noqa: S603  our own interpreter
            [
                *(sys.executable, "-P", "-m", "proxy.app.bench.backend"),
                *("--listen-fd", str(listener.fileno())),
            ],
            stdin=subprocess.PIPE,
            pass_fds=(listener.fileno(),),
            process_group=0,
            env=child_environment(os.environ),
        )
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    try:
        yield port
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_BACKEND_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
