"""What administrators can ask of the supervisor, as the admin servers see it."""

from __future__ import annotations

from typing import Any, Protocol

from proxy.app.status import Health

__all__ = ["Office"]


class Office(Protocol):
    """Implemented by the supervisor."""

    def health(self) -> Health:
        """What `/healthz` and `/readyz` say."""

    async def metrics(self) -> bytes:
        """The text exposition of all metrics."""

    async def overview(self) -> dict[str, Any]:
        """The status document."""

    async def reload(self) -> int:
        """Change to what the configuration file says now; the new generation's number.

        Raises LoadFailed, BindError or Refusal, whose texts are for the operator.
        """
