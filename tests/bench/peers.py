"""The servers that are compared: their configurations out of templates, and their commands.

Rules: each terminates TLS with an ECDSA and an RSA certificate on two ports and forwards to the
same backend; each gets one core and one process for the work (Vestibule: one front and one worker);
what it writes is in one directory.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from proxy.app.bench.rotation import BurstFailed
from proxy.app.bench.server import Server, free_port
from tests.certs import ThrowAwayCa

__all__ = ["KEYS", "NAMES", "NGINX", "Missing", "Peers", "vestibule_name"]

NGINX = "nginx"
"""What ratios are taken to."""

TUNED = ("nginxt", "haproxyt")
"""With larger buffers, for bulk."""

NAMES = (NGINX, "haproxy", "uvloop-ssl")

KEYS = {"ecdsa": "ecdsa-p256", "rsa": "rsa-2048"}
"""Ports by the kind of certificate, as tests.certs names them."""

_TEMPLATES = Path(__file__).with_name("templates")
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_BIG_BYTES = 256 << 20


class Missing(BurstFailed):
    """A program that a measurement needs is not installed."""


def vestibule_name(answer: str) -> str:
    """What a Vestibule that answers in this way is called."""
    return f"vestibule {answer}"


def program(name: str) -> str:
    """Where a program is. Raises Missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def rendered(template: str, values: dict[str, object]) -> str:
    """A template with its @NAMES@ replaced. Raises ValueError for one that has no value."""
    text = (_TEMPLATES / template).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    if "@" in text:
        raise ValueError(f"{template}: no value for {text[text.index('@') :][:20]!r}")
    return text


@dataclass(frozen=True, slots=True)
class Peers:
    """Makes servers that live in `home`; certificates are issued once."""

    home: Path
    backend_port: int
    core: int
    load_core: int

    @classmethod
    def prepared(cls, home: Path, core: int, load_core: int) -> Peers:
        """Write certificates and what the backend serves."""
        authority = ThrowAwayCa()
        authority.write(home)
        for name, key in KEYS.items():
            files = authority.issue(["localhost"], key=key).write(home, name)
            both = home / f"{name}.both"
            both.write_bytes(files.cert.read_bytes() + files.key.read_bytes())
            both.chmod(0o600)
        home.chmod(0o755)
        with (home / "big").open("wb") as file:
            file.truncate(_BIG_BYTES)
        return cls(home, free_port(), core, load_core)

    def backend(self) -> Server:
        """The one behind them, on the load's core and without TLS."""
        path = self._written("backend.conf", {})
        command = [program("nginx"), "-e", str(self.home / "backend.err"), "-c", str(path)]
        return self._server("backend", command, {}, self.load_core)

    def server(self, name: str) -> Server:
        """One by its name: of NAMES, of TUNED, or a Vestibule's. Raises Missing."""
        if name.startswith("vestibule "):
            return self.vestibule(name.removeprefix("vestibule "))
        ports = {key: free_port() for key in KEYS}
        return self._server(name, self._command(name, ports), ports, self.core)

    def vestibule(self, answer: str, *, fronts: int = 1, core: int | None = -1) -> Server:
        """Vestibule; with several fronts `core` may be None, which leaves all to the kernel."""
        name = vestibule_name(answer)
        ports = {key: free_port() for key in KEYS}
        values = {"ANSWER": answer, "FRONTS": fronts, "WORKERS": 1, **_upper(ports)}
        path = self._written("vestibule.conf", values, f"{answer}-{fronts}.yaml")
        command = [sys.executable, "-P", "-m", "proxy", "run", "-c", str(path)]
        return self._server(name, command, ports, self.core if core == -1 else core)

    def _command(self, name: str, ports: dict[str, int]) -> list[str]:
        if name == "uvloop-ssl":
            files = (f"{ports[key]}={self.home}/{key}.pem,{self.home}/{key}.key" for key in KEYS)
            module = [sys.executable, "-m", "tests.bench.terminator"]
            return [*module, str(self.backend_port), *files]
        path = self._written(f"{name}.conf", _upper(ports))
        if name.startswith("haproxy"):
            return [program("haproxy"), "-db", "-f", str(path)]
        return [program("nginx"), "-e", str(self.home / f"{name}.err"), "-c", str(path)]

    def _written(self, template: str, values: dict[str, object], name: str = "") -> Path:
        path = self.home / (name or template)
        places = {"HOME": self.home, "CERTIFICATES": self.home, "WWW": self.home}
        text = rendered(template, {**places, "BACKEND": self.backend_port, **values})
        path.write_text(text)
        return path

    def _server(
        self, name: str, command: list[str], ports: dict[str, int], core: int | None
    ) -> Server:
        log = self.home / f"{name.replace(' ', '-')}.log"
        return Server(name, command, ports, log=log, ca=self.home / "ca.pem", core=core)


def _upper(ports: dict[str, int]) -> dict[str, object]:
    return {key.upper(): port for key, port in ports.items()}
