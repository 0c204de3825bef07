"""The HTTP layer's settings: limits, timeouts and what is told to the backend.

Defaults stand beside their reasons. Sizes are bytes, times are seconds. How long a backend may
take is said where the backend is (upstream's settings).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """One listener's HTTP behaviour; shared by all of its connections."""

    head_limit_bytes: int = 32 * 1024
    """A request or response head, start line included: nginx's 4 buffers of 8 KiB. 431 or 502."""

    request_line_limit_bytes: int = 16 * 1024
    """Twice what RFC 9112, section 3, asks for; signed URLs grow long. Beyond: 414."""

    field_limit: int = 100
    """Field lines in one head, as Apache (100) and HAProxy (101). Beyond: 431 or 502."""

    request_body_limit_bytes: int | None = None
    """Largest request content; None: unlimited, since bodies are streamed, not stored. 413."""

    request_head_timeout_s: float = 30.0
    """From the first byte of a head to its end: a slow modem passes, a trickle does not. 408."""

    idle_timeout_s: float = 75.0
    """Wait for a request's first byte (nginx's keepalive_timeout); then closed silently."""

    body_timeout_s: float = 60.0
    """Longest pause between two pieces of a request body (nginx's client_body_timeout). 408."""

    client_write_timeout_s: float = 60.0
    """A client that reads nothing for so long is given up (nginx's send_timeout)."""

    tunnel_idle_timeout_s: float = 3600.0
    """Silence in both directions of an upgraded connection: quiet WebSockets are normal."""

    lingering_timeout_s: float = 5.0
    """How long unread request bytes are drained after an early answer, so that the client can
    still read it before a reset (RFC 9112, section 9.6)."""

    attempts: int = 3
    """Connections tried for one request, the first included, where sending again is allowed."""

    forwarding: Literal["replace", "append", "off"] = "replace"
    """Forwarded and X-Forwarded-*: `replace` trusts no client; `append` is for a trusted proxy in
    front of this one; `off` sends none, and removes what the client sent."""

    trust_request_id: bool = False
    """Take over a well-formed X-Request-Id of the client instead of making one."""

    via: str | None = "vestibule"
    """Pseudonym in the Via field, which RFC 9110, section 7.6.3, requires of a gateway's requests.
    None leaves it out: some origins (nginx's gzip_proxied) do not compress for proxies."""

    upgrades: frozenset[str] = frozenset({"websocket"})
    """Protocols a client may upgrade to, lower case. h2c is absent on purpose: its tunnel would
    carry requests past the routes."""
