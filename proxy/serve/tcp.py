"""A ``tcp`` route's connection: the client's bytes to a backend and back, as they are."""

from __future__ import annotations

from proxy.edge import Stream
from proxy.serve.relay import Relay, RelayBroken
from proxy.upstream import Backend, Lease, UpstreamError

__all__ = ["TcpOutcome", "serve_tcp"]

_CLOSE_TIMEOUT_S = 5.0

TcpOutcome = str
"""``ok``, or a label of why the connection broke."""


async def serve_tcp(client: Stream, backend: Backend, idle_timeout_s: float) -> TcpOutcome:
    """Serve until both sides are done; both streams are closed then. Never raises for a peer.

    The backend is connected to at once: in many protocols it is the server that speaks first.
    """
    try:
        lease = await _fresh(backend)
    except UpstreamError as error:
        client.abort()
        return error.reason
    try:
        await Relay(client, lease.stream, idle_timeout_s).run()
        await client.aclose(_CLOSE_TIMEOUT_S)
    except RelayBroken as error:
        return error.reason
    finally:
        # Whatever ended it, nothing of this connection is left for another.
        client.abort()
        lease.discard()
    return "ok"


async def _fresh(backend: Backend) -> Lease:
    """A connection without a past: nothing can be sent again if a used one turns out to be over.

    HTTP routes to the same group leave used ones behind.
    """
    while (lease := await backend.acquire()).reused:
        lease.discard()
    return lease
