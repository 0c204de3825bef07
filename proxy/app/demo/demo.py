"""Sets the demo up and takes it down: certificates, an HTTPS backend, a configuration, the proxy.

Rules: what it writes is in one directory, its own temporary one unless the user names another; it
never writes over files that are not a demo's; ports asked for as 0 are chosen before the
configuration is written, so that the file shows what is served. On the way out nothing stays but a
directory that the user has named.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.app.children import child_environment
from proxy.app.demo.authority import CertificateFiles, issue_demo_certificates
from proxy.app.failures import BindError, OperatorError
from proxy.app.launch import run

__all__ = ["Listen", "run_demo"]

_MARK = "# Written by `vestibule demo`; the next one writes over it.\n"
_BACKEND_NAME = "backend.localhost"
_UNIX_PATH_BYTES = 107
_BACKEND_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on, port 0 resolved."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """`ADDRESS:PORT` or `[ADDRESS]:PORT`. Raises OperatorError."""
        host, _, port = text.rpartition(":")
        try:
            address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            if (address.version == 6) != host.startswith("[") or not 0 <= int(port) <= 0xFFFF:
                raise ValueError(text)
        except ValueError:
            raise OperatorError(
                f"--listen {text}: expected ADDRESS:PORT, such as 127.0.0.1:8443 or [::1]:8443"
            ) from None
        return cls(str(address), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """The host name for a URL: one that the demo's certificate has."""
        address = ipaddress.ip_address(self.host)
        if address.is_loopback or address.is_unspecified:
            return "localhost"
        return f"[{self.host}]" if address.version == 6 else self.host


def run_demo(listen: str, directory: Path | None, say: Callable[[str], None]) -> int:
    """Run the demo until SIGINT or SIGTERM; returns the exit status. Raises OperatorError."""
    asked = Listen.parse(listen)
    # Until the supervisor listens for it, SIGTERM is what Ctrl-C is: the way out by cleaning up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as cleanup:
        if directory is None:
            home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="vestibule-")))
        else:
            home = _claimed(directory)
        front = cleanup.enter_context(_reserved(asked))
        admin = cleanup.enter_context(_reserved(Listen("127.0.0.1", 0)))
        hosts = dict.fromkeys(("localhost", "127.0.0.1", "::1", _host_name(front)))
        files = issue_demo_certificates(
            home, [("localhost", list(hosts)), ("backend", [_BACKEND_NAME, "127.0.0.1"])]
        )
        backend = cleanup.enter_context(_backend(files["backend"]))
        path = home / "vestibule.yaml"
        path.write_text(_configuration(home, files["localhost"], front, admin, backend))
        return run(path, lambda: say(_banner(home, front, admin, backend)))


def _claimed(directory: Path) -> Path:
    """Make the directory, or use one that is empty or a former demo's."""
    home = directory.absolute()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        former = home / "vestibule.yaml"
        ours = former.is_file() and former.read_text(errors="replace").startswith(_MARK)
        if not ours and any(home.iterdir()):
            raise OperatorError(f"--dir {directory}: not empty, and not from a former demo")
    except OSError as error:
        raise OperatorError(f"--dir {directory}: {error.strerror}") from error
    return home


@contextlib.contextmanager
def _reserved(asked: Listen) -> Iterator[Listen]:
    """Hold a port, without listening, until the proxy has bound it beside us."""
    family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            holder.bind((asked.host, asked.port))
        except OSError as error:
            raise BindError(f"cannot listen on {asked}: {error.strerror}") from error
        yield Listen(asked.host, holder.getsockname()[1])


@contextlib.contextmanager
def _backend(files: CertificateFiles) -> Iterator[int]:
    """Run the backend; gives its port. It ends with us, however we end: a pipe tells it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    ours_read, ours = os.pipe()
    with listener, os.fdopen(ours, "wb") as life:
        port: int = listener.getsockname()[1]
        process = subprocess.Popen(  # noqa: S603  our own interpreter
            [
                *(sys.executable, "-P", "-m", "proxy.app.demo.backend"),
                *("--listen-fd", str(listener.fileno()), "--life-fd", str(ours_read)),
                *(str(files.certificate), str(files.key)),
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=(listener.fileno(), ours_read),
            process_group=0,
            env=child_environment(os.environ),
        )
        os.close(ours_read)
        listener.close()
        try:
            yield port
        finally:
            life.close()
            try:
                process.wait(_BACKEND_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _configuration(
    home: Path, files: CertificateFiles, front: Listen, admin: Listen, backend: int
) -> str:
    """The file, as a user would write it."""
    control = home / "admin.sock"
    fits = len(os.fsencode(control)) <= _UNIX_PATH_BYTES
    return f"""{_MARK}# What is not here has its default; `vestibule schema` lists all keys.
listeners:
  - name: demo
    bind: [{_quoted(front)}]
    server_names:
      - default: true
        certificates:
          - cert_file: {_quoted(files.certificate)}
            key_file: {_quoted(files.key)}
        routes:
          - backend: echo

backends:
  echo:
    servers: ["https://127.0.0.1:{backend}"]
    tls:
      ca_file: {_quoted(home / "ca.pem")}
      server_name: {_BACKEND_NAME}

timeouts:
  drain_s: 5

admin:
  listen: {_quoted(admin)}
  socket: {_quoted(control) if fits else "null"}

logging:
  level: warning
  format: console
  access: combined
"""


def _banner(home: Path, front: Listen, admin: Listen, backend: int) -> str:
    ca = home / "ca.pem"
    where = f"{front.name}:{front.port}"
    name = front.name.strip("[]")
    servername = "" if _is_address(name) else f" -servername {name}"
    return f"""Vestibule listens on {front} and forwards to a demo backend on 127.0.0.1:{backend}.
Its throw-away CA, certificates and configuration are in {home}.

Try:
  curl --cacert {ca} https://{where}/hello
  curl --cacert {ca} https://{where}/bytes/1000000 -o /dev/null
  openssl s_client -connect {where}{servername} -CAfile {ca} -tls1_3
Look:
  curl http://{admin}/metrics
  vestibule status -c {home / "vestibule.yaml"}

Ctrl-C stops it.
"""


def _host_name(listen: Listen) -> str:
    return listen.name.strip("[]")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _quoted(value: object) -> str:
    return json.dumps(str(value))
