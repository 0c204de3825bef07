"""Backends: connections to their servers, made, verified, kept and balanced.

backend = Backend(settings)
lease = await backend.acquire()
await lease.stream.write(request)
...
lease.release()
"""

from __future__ import annotations

from proxy.upstream.backend import Backend, Lease, ServerState
from proxy.upstream.connect import connect
from proxy.upstream.errors import (
    ConnectFailed,
    ConnectTimeout,
    NoServerAvailable,
    UpstreamError,
    VerifyFailed,
)
from proxy.upstream.observer import Unobserved, UpstreamObserver
from proxy.upstream.settings import BackendSettings, BackendTls, ServerAddress
from proxy.upstream.tls import CertificateRefused, SslSession, client_context

__all__ = [
    "Backend",
    "BackendSettings",
    "BackendTls",
    "CertificateRefused",
    "ConnectFailed",
    "ConnectTimeout",
    "Lease",
    "NoServerAvailable",
    "ServerAddress",
    "ServerState",
    "SslSession",
    "Unobserved",
    "UpstreamError",
    "UpstreamObserver",
    "VerifyFailed",
    "client_context",
    "connect",
]
