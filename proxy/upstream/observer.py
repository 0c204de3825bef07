"""What this layer tells whoever counts and logs; app wires it to telemetry."""

from __future__ import annotations

from typing import Protocol

from proxy.upstream.settings import ServerAddress


class UpstreamObserver(Protocol):
    """Hooks, called synchronously in the loop: they must neither wait nor raise."""

    def dialed(
        self, backend: str, server: ServerAddress, result: str, seconds: float, resumed: bool
    ) -> None:
        """A connect ended: `result` is "ok" or the error's reason; `resumed` its TLS session."""

    def set_aside(self, backend: str, server: ServerAddress, seconds: float) -> None:
        """A server failed too often and gets no requests for that long."""

    def returned(self, backend: str, server: ServerAddress) -> None:
        """A server that was set aside answered and is in rotation again."""


class Unobserved:
    """An observer that does not look."""

    def dialed(
        self, backend: str, server: ServerAddress, result: str, seconds: float, resumed: bool
    ) -> None:
        """Nothing."""

    def set_aside(self, backend: str, server: ServerAddress, seconds: float) -> None:
        """Nothing."""

    def returned(self, backend: str, server: ServerAddress) -> None:
        """Nothing."""
