"""Who a request came from and what became of it: values for and from the layers around."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from proxy.upstream import ServerAddress


class ClientFacts(NamedTuple):
    """What is known of a client connection before its first request."""

    address: str | None
    """IPv4 or IPv6 address in text form; None for a UNIX socket."""
    port: int = 0
    listener_port: int = 443
    """The port the client connected to, sent as X-Forwarded-Port; 0: unknown, not sent."""
    scheme: str = "https"


class RequestRecord(NamedTuple):
    """One finished request, for access log and metrics. Times are seconds, sizes bytes.

    A tuple, which is made in a third of the time that a frozen dataclass takes.
    `method`, `target` and `fields` are the peer's bytes: logs escape them.
    """

    request_id: str
    client: ClientFacts
    method: bytes
    """Empty, like `target`, if no request head could be read."""
    target: bytes
    minor_version: int
    """Of the request: HTTP/1.1 or HTTP/1.0."""
    fields: tuple[tuple[bytes, bytes], ...]
    """The request's fields as on the wire."""
    status: int
    """What the client was sent; 499 (nginx's) if it left before it could be."""
    request_bytes: int
    """Head and body as received, without TLS."""
    response_bytes: int
    """Heads and body as sent, interim responses and a tunnel's bytes included."""
    duration_s: float
    """From the head's first byte to the response's last."""
    backend: str | None
    server: ServerAddress | None
    backend_time_s: float | None
    """From the moment the request was sent to the final response head."""
    attempts: int
    """Connections the request was tried on; above 1 it was sent again."""
    phase: str
    """The last phase that was entered."""
    reason: str | None
    """Why it failed, a snake_case label; None for a request relayed to its end."""
    close: str | None
    """Why the client connection ends with this request; None if it stays open."""

    def field(self, name: bytes) -> bytes:
        """The first field called `name` (lower case), empty if there is none."""
        for known, value in self.fields:
            if known.lower() == name:
                return value
        return b""


class Observer(Protocol):
    """Told once per request. Must neither block nor raise."""

    def request_finished(self, record: RequestRecord) -> None: ...

    def defect(self, error: Exception) -> None:
        """A bug of this proxy surfaced on one connection; that connection was closed."""
