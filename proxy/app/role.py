"""What a child process does, as its bootstrap sees it: the Role that front and worker implement.

Rules: `prepare` may fail and must then leave what serves untouched; `commit` and `abandon` must not
fail; every method except `drain` is synchronous and runs on the child's loop; descriptors handed in
belong to the role.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from proxy.app.messages import ListenerSocket

__all__ = ["FRONT", "ROLES", "WORKER", "Role", "RoleFactory"]

FRONT = "front"
WORKER = "worker"
ROLES = (WORKER, FRONT)
"""In the order in which they start and commit: what is handed over finds somebody there."""


class Role(Protocol):
    """A front or a worker. Built inside the running loop with its slot number."""

    def prepare(
        self, generation: int, snapshot: bytes, listeners: Sequence[ListenerSocket]
    ) -> None:
        """Load a generation beside the serving one. Whatever it raises refuses the generation.

        `listeners` is the generation's whole set (empty for a worker). A bind address that is
        already served comes as a second descriptor of the same socket: close either of the two.
        """

    def commit(self, generation: int) -> None:
        """Serve the prepared generation. A front takes what removed listeners have queued first."""

    def abandon(self, generation: int) -> None:
        """Forget a prepared generation, if it is known, and close its descriptors."""

    def attach(
        self,
        peer_role: str,
        peer_slot: int,
        incarnation: int,
        descriptor: int,
        lost: Callable[[], None],
    ) -> None:
        """Use a new hand-off channel; an older one of the same peer is gone.

        The first ones come between the first `prepare` and the first `commit`. A front calls
        `lost` when the channel has ended: its worker may live on and be given another.
        """

    def metrics(self) -> dict[str, Any]:
        """The telemetry registry's snapshot."""

    def status(self) -> dict[str, Any]:
        """Facts for `vestibule status`: a front gives `half_open` and `connections` (counts), a
        worker `connections` and `backends` ({backend: {server: {"healthy": bool, ...}}})."""

    async def drain(self, deadline_s: float) -> None:
        """Take nothing new and return when nothing is left or the deadline has passed.

        A front takes what its listeners have queued, then closes them.
        """

    def reopen_logs(self) -> None:
        """Open log files again by name."""


RoleFactory: TypeAlias = Callable[[int], Role]
"""Makes the role of one slot."""
