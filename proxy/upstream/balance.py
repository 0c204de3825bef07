"""Which server is next: round robin, without those that lately failed. Sans-IO.

Rules (passive marking, after nginx's max_fails and Envoy's outlier ejection): failures in a row
set a server aside for a time that doubles while its trials fail. When the time is over, one
request tries it; only an answer brings it back. If every server is aside, the one that would be
the earliest to return is tried: a wrong guess about health must not refuse what could be served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class _Standing:
    """One server's."""

    failures: int = 0
    """In a row."""
    aside_until: float | None = None
    period_s: float = 0.0
    """How long it was set aside last."""
    on_trial: bool = False


class Balancer:
    """Servers are numbers from 0; `now` is monotonic seconds."""

    __slots__ = ("_limit", "_max_s", "_next", "_period_s", "_standings")

    def __init__(self, count: int, failures: int, set_aside_s: float, max_s: float) -> None:
        self._limit = failures
        self._period_s = set_aside_s
        self._max_s = max(set_aside_s, max_s)
        self._standings = [_Standing() for _ in range(count)]
        self._next = 0

    def order(self, now: float) -> Sequence[int]:
        """Servers to try, best first; never empty."""
        count = len(self._standings)
        if count == 1:
            return (0,)
        start = self._next
        self._next = (start + 1) % count
        rotated = [(start + offset) % count for offset in range(count)]
        usable = [server for server in rotated if self._usable(server, now)]
        return usable or [min(rotated, key=self._returns_at)]

    def picked(self, server: int, now: float) -> None:
        """A request goes to the server: if it is set aside, that is its trial for a while."""
        standing = self._standings[server]
        if standing.aside_until is not None:
            standing.on_trial = standing.aside_until <= now
            standing.aside_until = now + standing.period_s

    def succeeded(self, server: int) -> bool:
        """The server answered; True if that brought it back."""
        standing = self._standings[server]
        standing.failures = 0
        if standing.aside_until is None:
            return False
        standing.aside_until = None
        standing.on_trial = False
        return True

    def failed(self, server: int, now: float) -> float | None:
        """The server failed; returns for how many seconds it is set aside, if it newly is.

        Requests that were under way when it was set aside do not make that longer.
        """
        standing = self._standings[server]
        standing.failures += 1
        if standing.aside_until is None:
            if standing.failures < self._limit:
                return None
            standing.period_s = self._period_s
        elif standing.on_trial:
            standing.period_s = min(standing.period_s * 2, self._max_s)
        else:
            return None
        standing.on_trial = False
        standing.aside_until = now + standing.period_s
        return standing.period_s

    def in_rotation(self, server: int) -> bool:
        """The server is not set aside."""
        return self._standings[server].aside_until is None

    def _usable(self, server: int, now: float) -> bool:
        until = self._standings[server].aside_until
        return until is None or until <= now

    def _returns_at(self, server: int) -> float:
        return self._standings[server].aside_until or 0.0
