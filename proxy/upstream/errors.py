"""Why no backend connection could be had. Nothing of a request was sent when these are raised."""

from __future__ import annotations

from proxy.upstream.settings import ServerAddress


class UpstreamError(Exception):
    """No connection. `reason` is a short snake_case label for metrics, the text is for logs."""

    def __init__(self, reason: str, message: str = "", server: ServerAddress | None = None) -> None:
        super().__init__(message or reason)
        self.reason = reason
        self.server = server


class ConnectFailed(UpstreamError):
    """Name, TCP or TLS failed; `ours` if for want of our own descriptors, ports or memory."""

    def __init__(
        self, reason: str, message: str, server: ServerAddress, *, ours: bool = False
    ) -> None:
        super().__init__(reason, message, server)
        self.ours = ours


class ConnectTimeout(UpstreamError):
    """Resolve, connect and TLS together took longer than allowed."""


class VerifyFailed(UpstreamError):
    """The server's certificate does not prove that it is who was asked for."""


class NoServerAvailable(UpstreamError):
    """Every server is at its limit and the queue is full or too slow, or the group is closed."""
