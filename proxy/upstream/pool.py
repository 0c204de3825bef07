"""One server's connections: how many there are, and which idle one is used next. Sans-IO.

Rules: an idle connection is taken newest first, so that what a burst left behind ages and goes.
What is dialled or leased counts against the limit as what is idle does. Nothing here closes
anything: who calls is told what to close.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """Counts and idle connections of one server; `now` is monotonic seconds."""

    __slots__ = ("_idle", "_idle_timeout_s", "_max_connections", "_max_idle", "in_use")

    def __init__(self, max_connections: int, max_idle: int, idle_timeout_s: float) -> None:
        self._max_connections = max_connections
        self._max_idle = max_idle
        self._idle_timeout_s = idle_timeout_s
        # In order of age, oldest first: since when each has been idle.
        self._idle: dict[T, float] = {}
        self.in_use = 0
        """Connections that are leased or being dialled."""

    @property
    def idle(self) -> int:
        """Connections kept for the next request."""
        return len(self._idle)

    def take(self, now: float) -> T | None:
        """The newest idle connection, now in use; None if there is none young enough."""
        if not self._idle:
            return None
        connection, since = self._idle.popitem()
        if now - since >= self._idle_timeout_s:
            # Older ones have expired too; all stay for `expire` to hand out.
            self._idle[connection] = since
            return None
        self.in_use += 1
        return connection

    def reserve(self) -> bool:
        """Count a connection that is going to be dialled; False at the limit."""
        if self.in_use + len(self._idle) >= self._max_connections:
            return False
        self.in_use += 1
        return True

    def put(self, connection: T, now: float) -> T | None:
        """A connection in use becomes idle; returns one to close where that is one too many."""
        self.in_use -= 1
        if not self._max_idle:
            return connection
        self._idle[connection] = now
        if len(self._idle) <= self._max_idle:
            return None
        oldest = next(iter(self._idle))
        del self._idle[oldest]
        return oldest

    def forget(self) -> None:
        """A connection in use, or its dial, has ended."""
        self.in_use -= 1

    def drop(self, connection: T) -> bool:
        """An idle connection ended by itself; False if it was not idle."""
        return self._idle.pop(connection, None) is not None

    def expire(self, now: float) -> list[T]:
        """Hand out what has been idle too long, to be closed."""
        expired = []
        for connection, since in self._idle.items():
            if now - since < self._idle_timeout_s:
                break
            expired.append(connection)
        for connection in expired:
            del self._idle[connection]
        return expired

    def next_expiry(self) -> float | None:
        """When the oldest idle connection expires."""
        for since in self._idle.values():
            return since + self._idle_timeout_s
        return None

    def drain(self) -> list[T]:
        """Hand out everything idle, to be closed."""
        idle = list(self._idle)
        self._idle.clear()
        return idle
