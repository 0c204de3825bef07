"""A deadline that moves with every read or write, over a timer that hardly ever does.

Arming and cancelling a loop timer for each read costs more than the read's bookkeeping. So the
timer stays where it is when the deadline moves away, and when it rings too early it is set again
for what remains: an idle connection wakes once per timeout, a busy one no more often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timers(Protocol):
    """The two things asked of a loop."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> asyncio.TimerHandle:
        """Call back at that time."""


class Deadline:
    """Calls `expired` once when the time that was set passes without `clear`."""

    __slots__ = ("_at", "_expired", "_loop", "_rings_at", "_timer")

    def __init__(self, loop: Timers, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at: float | None = None
        self._rings_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, timeout_s: float) -> None:
        """Expire that many seconds from now, in place of an earlier setting."""
        self._at = at = self._loop.time() + timeout_s
        if self._timer is not None:
            if self._rings_at <= at:
                return
            self._timer.cancel()
        self._arm(at)

    def clear(self) -> None:
        """Nothing expires; the timer may still ring, unheard."""
        self._at = None

    def cancel(self) -> None:
        """Clear for good, and let go of the loop and of whoever was to be called.

        That one has this deadline: the two would hold each other, and all that it has, until the
        collector comes by.
        """
        self._at = None
        self._expired = _nobody
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._at is None:
            return
        if self._loop.time() < self._at:
            self._arm(self._at)
            return
        self._at = None
        self._expired()

    def _arm(self, at: float) -> None:
        self._rings_at = at
        self._timer = self._loop.call_at(at, self._ring)


def _nobody() -> None:
    """What a deadline that was cancelled would call, if it still could."""
