"""One configuration generation as a worker serves it: names, routes, backends, and the credentials
of listeners whose front is keyless.

Rules: everything that can fail does so while it is built; it lives for as long as a connection, or
a handshake on its way here, may refer to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.app.observers import UpstreamMetrics
from proxy.config import NameSettings, WorkerSnapshot
from proxy.front import Form, Loaded, build_policy
from proxy.http import Route, RouteTable
from proxy.tls import Policy
from proxy.upstream import Backend

__all__ = ["WorkerGeneration"]

# Beyond the longest handshake: several workers may leave an offer unanswered before it comes here.
_ANSWERS_S = 60.0


class WorkerGeneration:
    """Connections keep theirs alive."""

    def __init__(
        self,
        number: int,
        snapshot: WorkerSnapshot,
        former: WorkerGeneration | None,
        upstream: UpstreamMetrics,
    ) -> None:
        """``former`` serves now. Raises ``ValueError`` or ``Misuse`` for a certificate."""
        self.number = number
        self.snapshot = snapshot
        self.retired_s: float | None = None
        self.connections = 0
        """Client connections that are served by it."""
        credentials: Loaded = {}
        self.policies: dict[int, Policy] = {
            one.index: build_policy(one.listener, credentials) for one in snapshot.retry
        }
        """How listeners whose clients are answered here answer them, by their index."""
        self.names: dict[int, NameSettings] = {one.index: one for one in snapshot.names}
        # A group that did not change keeps its connections, sessions and failure marks.
        known = {} if former is None else former.backends
        self.backends: dict[str, Backend] = {}
        for settings in snapshot.backends:
            present = known.get(settings.name)
            same = present is not None and present.settings == settings
            self.backends[settings.name] = (
                present if present is not None and same else Backend(settings, upstream)
            )
        self.routes: dict[int, RouteTable] = {
            one.index: self._routes(one) for one in snapshot.names if one.form is Form.HTTP
        }

    def _routes(self, name: NameSettings) -> RouteTable:
        return RouteTable(
            Route(
                backend=self.backends[one.backend],
                host=one.host,
                path_prefix=one.path_prefix,
                preserve_host=one.preserve_host,
            )
            for one in name.routes
        )

    def unreferred(self, now: float) -> bool:
        """Whether it is retired, serves nobody, and no handshake that it answered can go on."""
        if self.retired_s is None or self.connections:
            return False
        return now - self.retired_s > self.snapshot.handshake_s + _ANSWERS_S

    def close_unless_used_by(self, others: Iterable[WorkerGeneration]) -> None:
        """Close the groups that nobody else has."""
        kept = {id(backend) for other in others for backend in other.backends.values()}
        for backend in self.backends.values():
            if id(backend) not in kept:
                backend.close()
