"""The shape of a configuration file: every section and key, its type, bounds and default.

Rules: this is the only description of the file; the JSON schema, the messages about unknown
keys and the build of the layers' settings follow it. A default that a layer owns is taken from
the layer's settings, where its reason stands. The docstrings are for operators: they become the
schema's descriptions. Keys end in `_s` for seconds and in `_bytes` for sizes, which take a
number or text such as "64KiB".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le, MinLen
from pydantic import ConfigDict

from proxy.config import values
from proxy.config.configuration import DRAIN_TIMEOUT_S, STUCK_TIMEOUT_S
from proxy.config.forms import (
    Address,
    Count,
    CountOrNone,
    EnvironmentName,
    FilePath,
    HandshakeSeconds,
    HelloSize,
    HostName,
    HostPattern,
    Label,
    Network,
    PathPrefix,
    Processes,
    ProtocolName,
    Seconds,
    ServerName,
    ServerUrl,
    Share,
    Size,
    TcpAddress,
    Token,
    Workers,
)
from proxy.front import FrontSettings, GroupName, ListenerSettings, SuiteName, TlsSettings
from proxy.http import HttpSettings
from proxy.upstream import BackendSettings, BackendTls, ServerAddress

_LISTENER = ListenerSettings(name="", bind=(), server_names=())
_CLIENT_TLS = TlsSettings()
_FRONT = FrontSettings(listeners=())
_PRESSURE = _FRONT.pressure
_SOURCES = _FRONT.sources
_HTTP = HttpSettings()
_TLS = BackendTls()
_BACKEND = BackendSettings(
    name="", servers=(ServerAddress(scheme="https", host="localhost", port=443),)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Where a secret is: exactly one of the two; never in this file itself."""

    file: FilePath | None = None
    """File whose content, a final line break left out, is the secret."""
    env: EnvironmentName | None = None
    """Environment variable whose value is the secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """A certificate chain and its private key, as PEM files."""

    cert_file: FilePath
    """The chain: the server's certificate first, then what certifies it, without the root."""
    key_file: FilePath
    """The certificate's private key: ECDSA P-256 or P-384, RSA from 2048 bits, or Ed25519."""
    key_passphrase: SecretRef | None = None
    """What opens the key file if it is encrypted: {file: ...} or {env: ...}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which requests go to which backend. The most specific host wins, then the longest prefix,
    whatever the order."""

    host: HostPattern = "*"
    """The request's host: a name, "*.example.org" for all names below one, or "*" for the rest."""
    path_prefix: PathPrefix = "/"
    """How the request's path begins, by whole segments: /api is /api and /api/x, not /apis."""
    backend: str
    """The name of a backend."""
    preserve_host: bool = True
    """Send the client's Host on. Off: the server's own name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpRoute:
    """Decrypted bytes go to a backend as they are, both ways."""

    backend: str
    """The name of a backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerNameEntry:
    """Names with what they share: certificates, protocols, and `routes` or `tcp`."""

    names: tuple[ServerName, ...] = ()
    """Names asked for by SNI: exact, or with "*" as the first label for one label of any name."""
    default: bool = False
    """Also serve clients that ask for no name or for one that is not listed. At most one entry
    of a listener; without one such clients get the alert unrecognized_name."""
    certificates: Annotated[tuple[CertificateFiles, ...], MinLen(1)]
    """One or more, such as ECDSA and RSA: the first that the client can verify is sent."""
    alpn: tuple[ProtocolName, ...] | None = None
    """Application protocols (ALPN) in order of preference. null: ["http/1.1"] with routes,
    none with tcp."""
    routes: tuple[Route, ...] | None = None
    """HTTP routes. Either these or tcp."""
    tcp: TcpRoute | None = None
    """No HTTP: bytes to a backend. Either this or routes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSection:
    """What a listener speaks with its clients."""

    versions: Annotated[tuple[Literal["1.2", "1.3"], ...], MinLen(1)] = ("1.3",)
    """Protocol versions. 1.2 comes with a later release."""
    suites: Annotated[tuple[SuiteName, ...], MinLen(1)] = _CLIENT_TLS.suites
    """Cipher suites, best first."""
    groups: Annotated[tuple[GroupName, ...], MinLen(1)] = _CLIENT_TLS.groups
    """Key exchange groups, best first; one that the client sent a key share for goes first."""
    prefer: Literal["client", "server"] = _CLIENT_TLS.prefer
    """Whose first common suite is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Addresses to listen on, and the names served there."""

    name: Label
    """Its name in logs and metrics."""
    bind: Annotated[tuple[Address, ...], MinLen(1)]
    """Addresses: "0.0.0.0:8443", "[::]:8443", "unix:/run/vestibule/public.sock"."""
    answer: Literal["direct", "retry", "adaptive"] = "adaptive"
    """How hellos are answered. direct: with the whole flight at once. retry: always with a
    HelloRetryRequest first, by fronts that hold no certificate key. adaptive: that, but only
    under pressure."""
    dual_stack: bool = _LISTENER.dual_stack
    """IPv6 addresses take IPv4 clients too; off: an address means one family."""
    backlog: Annotated[int, Ge(1), Le(1 << 20)] = _LISTENER.backlog
    """Connections that the kernel queues before they are accepted (at most
    net.core.somaxconn)."""
    tls: TlsSection = field(default_factory=TlsSection)
    """Versions, suites and groups."""
    server_names: Annotated[tuple[ServerNameEntry, ...], MinLen(1)]
    """What is served to whom: an exact name goes before a wildcard, that before the default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTlsSection:
    """How https servers of a backend prove themselves."""

    verify: bool = _TLS.verify
    """Check the certificate's chain and name. Off: whoever is on the path can be the backend."""
    ca_file: FilePath | None = None
    """PEM file with the authorities to trust. null: the system's."""
    server_name: HostName | None = None
    """Name to ask for (SNI) and to check. null: the server's host."""
    alpn: tuple[ProtocolName, ...] = _TLS.alpn
    """Application protocols to offer; [] offers none, for tcp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTimeouts:
    """How long a backend may take."""

    connect_s: Seconds = _BACKEND.connect_timeout_s
    """To look up, connect and complete TLS with one server."""
    read_s: Seconds = _BACKEND.read_timeout_s
    """Longest silence while an answer is awaited or arrives; then 504."""
    write_s: Seconds = _BACKEND.write_timeout_s
    """Longest time in which a backend takes nothing of a request; then 504."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendPool:
    """Connections to a backend, per server and worker."""

    connections: Count = _BACKEND.max_connections
    """In use and idle together."""
    idle: CountOrNone = _BACKEND.max_idle
    """Kept open without a request."""
    idle_s: Seconds = _BACKEND.idle_timeout_s
    """How long one is kept: less than the backend's own keep-alive time."""
    waiting: CountOrNone = _BACKEND.max_waiting
    """Requests that wait for a connection; the next gets 503."""
    wait_s: Seconds = _BACKEND.wait_timeout_s
    """How long one waits; then 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFailures:
    """When a server is left out for a while, judged by each worker from its own connections."""

    attempts: Count = _BACKEND.connect_attempts
    """Servers tried for one connection."""
    in_a_row: Count = _BACKEND.failures
    """Failed connections in a row after which a server is set aside."""
    set_aside_s: Seconds = _BACKEND.set_aside_s
    """How long at first; doubled while it keeps failing."""
    set_aside_max_s: Seconds = _BACKEND.set_aside_max_s
    """How long at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A group of servers that can each take any request, in turn."""

    servers: Annotated[tuple[ServerUrl, ...], MinLen(1)]
    """Each as "https://HOST[:PORT]" or "http://HOST[:PORT]"."""
    tls: BackendTlsSection = field(default_factory=BackendTlsSection)
    """For its https servers."""
    timeouts: BackendTimeouts = field(default_factory=BackendTimeouts)
    """How long it may take."""
    pool: BackendPool = field(default_factory=BackendPool)
    """How many connections are kept to it."""
    failures: BackendFailures = field(default_factory=BackendFailures)
    """When a server of it is set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessesSection:
    """How many processes share the work; a change takes effect on reload."""

    fronts: Processes = 1
    """Processes that accept and answer hellos. One answers thousands a second."""
    workers: Workers = "auto"
    """Processes that serve connections. auto: one per usable core."""
    keyless_user: str | None = None
    """User of this system whom fronts run as. Only where every listener has `answer: retry`, since
    only then they hold no certificate key; a change needs a restart. null: ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutsSection:
    """How long a client may take, and we."""

    hello_s: HandshakeSeconds = _LISTENER.hello_timeout_s
    """From accept to the whole ClientHello."""
    reply_s: HandshakeSeconds = _LISTENER.reply_timeout_s
    """From our answer to the client's whole reply."""
    handshake_s: HandshakeSeconds = _LISTENER.handshake_timeout_s
    """From accept to the end of the handshake."""
    handoff_s: Seconds = _FRONT.handoff_timeout_s
    """How long a client that has replied waits for a worker that can take it."""
    request_head_s: Seconds = _HTTP.request_head_timeout_s
    """From the first byte of a request's head to its last; then 408."""
    request_body_s: Seconds = _HTTP.body_timeout_s
    """Longest pause inside a request's body; then 408."""
    client_idle_s: Seconds = _HTTP.idle_timeout_s
    """Between two requests of a connection; then it is closed."""
    client_write_s: Seconds = _HTTP.client_write_timeout_s
    """Longest time in which a client takes nothing of a response."""
    tunnel_idle_s: Seconds = _HTTP.tunnel_idle_timeout_s
    """Silence in both directions of a WebSocket or tcp connection."""
    lingering_s: Seconds = _HTTP.lingering_timeout_s
    """How long the rest of a refused request is read, so that its sender sees the answer."""
    drain_s: Seconds = DRAIN_TIMEOUT_S
    """How long open connections may go on after SIGTERM."""
    stuck_s: Seconds = STUCK_TIMEOUT_S
    """How long a front or worker may leave the supervisor without an answer; then it is killed and
    replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSection:
    """How much a client may send, and how much of it we hold."""

    hello_bytes: HelloSize = _LISTENER.hello_limit_bytes
    """One ClientHello over all of its records."""
    half_open: Count = _LISTENER.half_open_limit
    """Half-open handshakes of one listener in one front."""
    partial_hello_bytes: Size = _LISTENER.partial_hello_limit_bytes
    """All hellos and replies that are not yet whole, in one front."""
    head_bytes: Size = _HTTP.head_limit_bytes
    """A request's head (then 431) or a response's (then 502)."""
    request_line_bytes: Size = _HTTP.request_line_limit_bytes
    """A request's first line; then 414."""
    fields: Count = _HTTP.field_limit
    """Field lines in one head; then 431 or 502."""
    request_body_bytes: Size | None = _HTTP.request_body_limit_bytes
    """A request's body; then 413. null: no limit, since bodies are passed on, not stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureSection:
    """When a front is under pressure: one of these reached. All below half of it: it is over."""

    half_open: Count = _PRESSURE.half_open
    """Clients that were answered and have not replied."""
    lag_s: Seconds = _PRESSURE.lag_s
    """By how much the front's loop is late."""
    answers_per_s: Count = _PRESSURE.answers_per_s
    """Answers in a second from which on abandoned_share counts."""
    abandoned_share: Share = _PRESSURE.abandoned_share
    """More than this share of a second's answers went without a reply."""
    calm_s: Seconds = _PRESSURE.calm_s
    """How long all must be below half before it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesSection:
    """What one source (IPv4 address or IPv6 /64) may have while a front is under pressure."""

    half_open_limit: Count | None = _SOURCES.half_open_limit
    """Clients that have not replied, in one front; the next is closed. null: no limit."""
    exempt: tuple[Network, ...] = _SOURCES.exempt
    """Networks without a limit, such as "192.0.2.0/24"; IPv6 from /64 up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSection:
    """How requests are passed on."""

    attempts: Count = _HTTP.attempts
    """Backend connections tried for a request that may be sent again."""
    forwarding: Literal["replace", "append", "off"] = _HTTP.forwarding
    """Forwarded and X-Forwarded-*. replace: ours instead of the client's. append: ours after a
    trusted proxy's. off: none."""
    trust_request_id: bool = _HTTP.trust_request_id
    """Keep a client's X-Request-Id instead of making one."""
    via: Token | None = _HTTP.via
    """Our name in the Via field. null: no Via."""
    upgrades: tuple[Token, ...] = tuple(sorted(_HTTP.upgrades))
    """Protocols that a client may upgrade a connection to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSection:
    """Where to ask the proxy about itself."""

    listen: TcpAddress | None = field(default_factory=lambda: values.tcp_address("127.0.0.1:9180"))
    """GET /metrics, /healthz and /readyz; nothing else is served there. null: off."""
    socket: FilePath | None = "/run/vestibule/admin.sock"
    """UNIX socket for `vestibule status`, only for our own user and root. null: off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSection:
    """What is written about the work, and where."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe that is written."""
    format: Literal["json", "console"] = "json"
    """json: one object per line. console: for people."""
    access: Literal["json", "combined", "off"] = "json"
    """One line per request. combined: as nginx and Apache write it."""
    file: FilePath | None = None
    """File to append to, opened again on SIGUSR1. null: standard error."""
    access_file: FilePath | None = None
    """File for the access log, opened again on SIGUSR1. null: standard output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationFile:
    """Vestibule's configuration file."""

    __pydantic_config__ = ConfigDict(
        # JSON's types without coercion: "1" is no number. Sections inherit this.
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    listeners: Annotated[tuple[Listener, ...], MinLen(1)]
    """Where clients connect."""
    backends: Annotated[dict[Label, Backend], MinLen(1)]
    """Where requests go, by name."""
    processes: ProcessesSection = field(default_factory=ProcessesSection)
    """How many processes share the work."""
    timeouts: TimeoutsSection = field(default_factory=TimeoutsSection)
    """How long clients may take."""
    limits: LimitsSection = field(default_factory=LimitsSection)
    """How much clients may send."""
    pressure: PressureSection = field(default_factory=PressureSection)
    """When clients of adaptive listeners are asked to come back."""
    sources: SourcesSection = field(default_factory=SourcesSection)
    """What one source may have under pressure."""
    http: HttpSection = field(default_factory=HttpSection)
    """How requests are passed on."""
    admin: AdminSection = field(default_factory=AdminSection)
    """Metrics, health and the control socket."""
    logging: LoggingSection = field(default_factory=LoggingSection)
    """What is written where."""
