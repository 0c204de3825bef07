"""What an operator says about a group of backend servers.

Values are checked where they are made: a `BackendSettings` that exists can be used. Every default
says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import urlsplit

DEFAULT_PORTS = {"https": 443, "http": 80}
_UNIX = "unix:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where one server listens."""

    scheme: Literal["https", "http"]
    """`https` is TLS with verification, `http` cleartext."""

    host: str
    """A DNS name, an IPv4 or IPv6 address (no brackets), or `unix:` and a socket's path."""

    port: int
    """TCP port; 0 for a Unix socket."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `https://host[:port]`, `http://host[:port]` or `http://unix:/path`.

        Raises ValueError with what was expected. A path, query or user does not belong here:
        requests bring their own.
        """
        scheme, _, rest = url.partition("://")
        if scheme not in DEFAULT_PORTS or not rest:
            raise ValueError(f"expected https://host[:port] or http://host[:port], not {url!r}")
        checked: Literal["https", "http"] = "https" if scheme == "https" else "http"
        if rest.startswith(_UNIX):
            if not rest.removeprefix(_UNIX).startswith("/"):
                raise ValueError(f"expected an absolute path after unix:, not {url!r}")
            return cls(scheme=checked, host=rest, port=0)
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ValueError(f"expected a host in {url!r}: {error}") from error
        if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError(f"expected nothing after host and port, not {url!r}")
        if not parts.hostname or not parts.hostname.isprintable() or " " in parts.hostname:
            raise ValueError(f"expected a host in {url!r}")
        try:
            port = DEFAULT_PORTS[scheme] if parts.port is None else parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError(f"expected a port from 1 to 65535 in {url!r}")
        return cls(scheme=checked, host=parts.hostname, port=port)

    @property
    def unix_path(self) -> str | None:
        """The Unix socket's path, if it is one."""
        return self.host.removeprefix(_UNIX) if self.host.startswith(_UNIX) else None

    def __str__(self) -> str:
        """The URL; also the label of metrics."""
        if self.unix_path is not None:
            return f"{self.scheme}://{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTls:
    """How `https` servers prove themselves. Checks are on unless switched off by name."""

    verify: bool = True
    """Check chain and name. Off only for tests: anyone on the path can then be the backend."""

    ca_file: str | None = None
    """PEM file of trust anchors, in place of the system's."""

    ca_pem: bytes | None = None
    """The same as bytes: workers get what the supervisor read. Wins over `ca_file`."""

    server_name: str | None = None
    """Name to send (SNI) and to check, in place of the server's host."""

    alpn: tuple[str, ...] = ("http/1.1",)
    """Protocols to offer, by preference. The proxy speaks HTTP/1.1 to backends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """One group of interchangeable servers with its limits."""

    name: str
    """The group's name in routes, logs and metrics."""

    servers: tuple[ServerAddress, ...]
    """Tried in turn (round robin); at least one."""

    tls: BackendTls = field(default_factory=BackendTls)
    """For the `https` servers among them."""

    connect_timeout_s: float = 5.0
    """Resolve, connect and TLS together: three SYNs (0, 1 and 3 s) fit, a user still waits."""

    read_timeout_s: float = 60.0
    """Longest silence of a backend in an exchange; what nginx's proxy_read_timeout defaults to."""

    write_timeout_s: float = 60.0
    """Longest time a backend may take nothing of a request; as nginx's proxy_send_timeout."""

    max_connections: int = 512
    """Per server and worker, in use and idle: below the usual soft limit of 1024 descriptors."""

    max_idle: int = 64
    """Idle connections kept per server and worker: enough for a burst, little for the backend."""

    idle_timeout_s: float = 60.0
    """An idle connection's life: below the 75 s after which nginx as backend closes its end."""

    max_waiting: int = 1024
    """Requests that may wait for a connection; the next is refused at once (503)."""

    wait_timeout_s: float = 5.0
    """Longest wait for a connection: as long as a connect may take."""

    connect_attempts: int = 3
    """Servers tried for one request before it fails; each attempt has its own connect timeout."""

    failures: int = 3
    """Failures in a row after which a server is set aside: one or two can be a restart."""

    set_aside_s: float = 10.0
    """First time aside, doubled while the server keeps failing; nginx's fail_timeout."""

    set_aside_max_s: float = 120.0
    """Longest time aside: a server that came back is found within two minutes."""

    def __post_init__(self) -> None:
        """Refuse what could not work."""
        if not self.servers:
            raise ValueError("servers: expected at least one")
        for key in _POSITIVE:
            if getattr(self, key) <= 0:
                raise ValueError(f"{key}: expected more than 0")
        for key in ("max_idle", "max_waiting"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key}: expected 0 or more")


_POSITIVE = (
    "connect_timeout_s",
    "read_timeout_s",
    "write_timeout_s",
    "max_connections",
    "idle_timeout_s",
    "wait_timeout_s",
    "connect_attempts",
    "failures",
    "set_aside_s",
    "set_aside_max_s",
)
