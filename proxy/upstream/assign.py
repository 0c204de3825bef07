"""What happens to a request for a connection: decided here, done in `backend`. Sans-IO.

One decision weighs the balancer's order, the idle connections and the limits of all servers; the
connection or the place for it is taken when the decision is given.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, NamedTuple, TypeVar

from proxy.upstream.balance import Balancer
from proxy.upstream.pool import Pool
from proxy.upstream.settings import BackendSettings

T = TypeVar("T")


class Reuse(NamedTuple, Generic[T]):
    """Use this idle connection."""

    server: int
    connection: T


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to this server; its place is reserved."""

    server: int


class Unassigned(Enum):
    """Why there is no connection to be had now."""

    FULL = auto()
    """Every server has as many connections as it may: wait for one."""

    TRIED = auto()
    """No server is left that was not tried for this request."""


class Assigner(Generic[T]):
    """A group's pools and standings; connections are opaque to it."""

    __slots__ = ("balancer", "pools")

    def __init__(self, settings: BackendSettings) -> None:
        self.balancer = Balancer(
            len(settings.servers), settings.failures, settings.set_aside_s, settings.set_aside_max_s
        )
        self.pools = [
            Pool[T](settings.max_connections, settings.max_idle, settings.idle_timeout_s)
            for _ in settings.servers
        ]

    def assign(self, now: float, tried: Collection[int]) -> Reuse[T] | Dial | Unassigned:
        """Decide for one request that has failed on the servers in `tried`."""
        none = Unassigned.TRIED
        for server in self.balancer.order(now):
            if server in tried:
                continue
            pool = self.pools[server]
            connection = pool.take(now)
            if connection is not None:
                self.balancer.picked(server, now)
                return Reuse(server, connection)
            if pool.reserve():
                self.balancer.picked(server, now)
                return Dial(server)
            none = Unassigned.FULL
        return none

    def next_expiry(self) -> float | None:
        """When the first idle connection of any server expires."""
        times = [time for pool in self.pools if (time := pool.next_expiry()) is not None]
        return min(times, default=None)
