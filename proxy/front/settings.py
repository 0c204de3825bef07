"""What the front is told: where it listens, for which names it answers, and its bounds.

Rules: values only, built by proxy.config and sent to the front by the supervisor; a front
reads no file. Every bound is per front process, because fronts share nothing. Defaults are
here with their reasons and proxy.config offers the same ones.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from proxy.tls import Secret

SuiteName = Literal[
    "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"
]
GroupName = Literal["X25519MLKEM768", "X25519", "SECP256R1", "SECP384R1"]


class AnswerPolicy(enum.Enum):
    """How a listener's front answers a ClientHello."""

    DIRECT = "direct"
    """With the whole flight at once: the front signs."""
    RETRY = "retry"
    """Always with HelloRetryRequest and a cookie. The front holds no certificate key, so it cannot
    read the traffic; a worker answers the second hello."""
    ADAPTIVE = "adaptive"
    """Like `direct` until the front is under pressure, then with HelloRetryRequest and a cookie, so
    that only a client that comes back costs a signature. The front signs either way."""


class Form(enum.Enum):
    """What a worker does with a server name's connections: HTTP routes, or bytes to a backend."""

    HTTP = "http"
    TCP = "tcp"


class Family(enum.Enum):
    """The socket family of an address that is listened on."""

    INET = "inet"
    INET6 = "inet6"
    UNIX = "unix"


@dataclass(frozen=True, slots=True, kw_only=True)
class BindAddress:
    """One address to listen on."""

    family: Family
    """Which of the fields below count."""
    host: str
    """An IPv4 or IPv6 address without brackets; for a UNIX socket its absolute path."""
    port: int = 0
    """TCP port; 0 for a UNIX socket."""

    def __str__(self) -> str:
        match self.family:
            case Family.UNIX:
                return f"unix:{self.host}"
            case Family.INET6:
                return f"[{self.host}]:{self.port}"
            case Family.INET:
                return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateMaterial:
    """A certificate chain with its private key, already checked to be a pair."""

    chain_pem: bytes
    """PEM certificates, the leaf first (RFC 8446, Section 4.4.2)."""
    key: Secret
    """The leaf's private key: unencrypted PKCS #8 in PEM."""
    source: str
    """The certificate file's path: what logs and metrics call this certificate."""
    not_after_s: int
    """When the first certificate of the chain to expire does: seconds since the Unix epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerNameSettings:
    """The names that share certificates, protocols and routes."""

    index: int
    """Number of this entry, unique in a configuration: how the worker finds its routes."""
    names: tuple[str, ...]
    """Host names in lower case: exact ("example.org") or with a first label "*"."""
    default: bool = False
    """Answer hellos without SNI, or with a name that nothing else of the listener has."""
    certificates: tuple[CertificateMaterial, ...]
    """At least one; the first whose signature schemes the client can verify is sent."""
    alpn: tuple[str, ...] = ("http/1.1",)
    """Application protocols in order of preference; none: the extension is not answered."""
    form: Form = Form.HTTP
    """What the worker does with the connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """What a listener speaks, by the registries' names, and whose order of suites decides."""

    suites: tuple[SuiteName, ...] = (
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    )
    """Cipher suites, best first."""
    groups: tuple[GroupName, ...] = ("X25519MLKEM768", "X25519", "SECP256R1", "SECP384R1")
    """Key exchange groups, best first. One that the client sent a share for wins over one that
    costs a round trip."""
    prefer: Literal["client", "server"] = "client"
    """Whose first common suite is taken. A client without AES in hardware puts ChaCha20 first,
    and it knows best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """One listener: its addresses, its names, and the bounds of a handshake on it."""

    name: str
    """Label in logs and metrics, unique in a configuration."""
    bind: tuple[BindAddress, ...]
    """Addresses to listen on, at least one."""
    dual_stack: bool = False
    """IPv6 addresses take IPv4 clients too. Off: one address means one family everywhere,
    whatever net.ipv6.bindv6only says."""
    backlog: int = 4096
    """Connections the kernel queues before accept. The kernel caps it at net.core.somaxconn,
    whose default this is."""
    answer: AnswerPolicy = AnswerPolicy.ADAPTIVE
    """How hellos are answered. Not `direct`, whose floods cost a signature a hello; not `retry`,
    whose round trip every client pays, flood or not."""
    server_names: tuple[ServerNameSettings, ...]
    """Chosen by SNI: exact first, then wildcard, then the default."""
    tls: TlsSettings = field(default_factory=TlsSettings)
    """Suites and groups."""
    hello_timeout_s: float = 10.0
    """From accept to the whole hello. A slow mobile link needs under 3 s; slower is an attack
    on the table."""
    reply_timeout_s: float = 10.0
    """From our flight to the client's whole reply: it has only to verify and to sign."""
    handshake_timeout_s: float = 15.0
    """From accept to Finished, HelloRetryRequest included: below the sum of both, so that
    using up each bound does not pay."""
    hello_limit_bytes: int = 131_400
    """A hello over all its records: the longest that the message's fields allow, so that none that
    is legal is refused (OpenSSL has the same bound). What is not whole shares a pool."""
    half_open_limit: int = 65536
    """Half-open handshakes of this listener in one front: 32 MiB at 512 bytes each."""
    partial_hello_limit_bytes: int = 16_777_216
    """Bytes of hellos and replies that are not yet whole, in one front: 8,000 hellos of a
    browser's size at once. Beyond it, those that hold most are closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureSettings:
    """When a front is under pressure: one of these reached. All below half: it is over."""

    half_open: int = 512
    """Clients that were answered and have not replied. At 100 ms a round trip these are 5,000
    handshakes a second, more than one front answers: so many do not mean to reply."""
    lag_s: float = 0.02
    """By how much the loop is late, with at least half of `answers_per_s`, since fewer did not do
    it. A turn with 256 events takes less; people notice 100 ms, and a handshake has several."""
    answers_per_s: int = 200
    """Answers in the last second from which on `abandoned_share` counts: of fewer the share is
    chance, and they cost a tenth of a core at most."""
    abandoned_share: float = 0.5
    """Of the last second's answers, those whose client went without a reply must be more than this.
    Of honest clients a few in a hundred go, in a bad hour one in ten."""
    calm_s: float = 5.0
    """How long all must be below half of the above before it is over: floods come in waves, and
    a round trip for honest clients costs less than to be caught again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """How many clients without a reply one source may have under pressure."""

    half_open_limit: int | None = None
    """Per IPv4 address or IPv6 /64, in one front; None: no limit and no counting. Off, because
    behind one address of a mobile network stand thousands."""
    exempt: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks without a limit: known gateways and monitoring. IPv6 from /64 up, since a source is
    no less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSettings:
    """All that a front process works with."""

    listeners: tuple[ListenerSettings, ...]
    """At least one."""
    handoff_timeout_s: float = 5.0
    """How long a client that has replied waits for a worker with credit before it is closed:
    longer than a worker's restart, shorter than a person's patience."""
    pressure: PressureSettings = field(default_factory=PressureSettings)
    """When `adaptive` listeners ask for a second hello, and sources have a limit."""
    sources: SourceSettings = field(default_factory=SourceSettings)
    """The limit per source."""
