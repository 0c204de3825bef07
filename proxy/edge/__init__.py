"""One connection's edge: a bare descriptor on the loop, its session and its send buffer.

Client and backend legs are both `Stream`s; what differs is the `Session` that protects them.
"""

from __future__ import annotations

from proxy.edge.errors import StreamError
from proxy.edge.session import PlainSession, Session, SessionError
from proxy.edge.stream import HIGH_WATER, Detached, Stream
from proxy.edge.tls import TlsSession

__all__ = [
    "HIGH_WATER",
    "Detached",
    "PlainSession",
    "Session",
    "SessionError",
    "Stream",
    "StreamError",
    "TlsSession",
]
