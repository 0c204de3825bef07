"""Deadlines by descriptor in a wheel of buckets: set, clear and expire at constant cost each.

A doubly linked ring per bucket, its links in two arrays indexed by node: 8 bytes for a client,
no object. The buckets' heads are the first nodes, the descriptors stand behind them. What expires
is paid for, what is stored is not. Deadlines are met up to one ``tick_s`` late, never early.
"""

from array import array
from math import ceil
from typing import Final

__all__ = ["DeadlineWheel"]

_FREE: Final = -1
_FIRST_SIZE: Final = 1024


class DeadlineWheel:
    """At most one deadline for each descriptor, at most ``horizon_s`` ahead.

    ``now`` is monotonic seconds throughout.
    """

    __slots__ = ("_base", "_next", "_previous", "_swept", "_ticks_per_s")

    def __init__(self, horizon_s: float, tick_s: float, now: float) -> None:
        self._base = ceil(horizon_s / tick_s) + 2
        self._ticks_per_s = 1 / tick_s
        self._swept = int(now * self._ticks_per_s)
        self._next = array("i", range(self._base))
        self._previous = array("i", range(self._base))
        self._grow(self._base + _FIRST_SIZE)

    def set(self, descriptor: int, deadline: float) -> None:
        """Put or move the deadline of ``descriptor``."""
        base = self._base
        node = base + descriptor
        following, previous = self._next, self._previous
        if node >= len(following):
            # By an eighth: a client that only waits costs its links and little more.
            self._grow(max(node + 1, len(following) * 9 // 8))
        elif following[node] != _FREE:
            self.clear(descriptor)
        # Rounded up, never into a bucket that has been swept, and never a turn of the wheel ahead.
        tick = int(deadline * self._ticks_per_s) + 1
        swept = self._swept
        if tick <= swept:
            tick = swept + 1
        elif tick >= swept + base:
            tick = swept + base - 1
        head = tick % base
        last = previous[head]
        following[last] = node
        previous[node] = last
        following[node] = head
        previous[head] = node

    def clear(self, descriptor: int) -> None:
        """Forget the deadline, if there is one."""
        node = self._base + descriptor
        following, previous = self._next, self._previous
        if node >= len(following):
            return
        after = following[node]
        if after == _FREE:
            return
        before = previous[node]
        following[before] = after
        previous[after] = before
        following[node] = _FREE

    def expire(self, now: float) -> list[int]:
        """Descriptors whose deadline has passed, in order of time; they are forgotten."""
        base = self._base
        current = int(now * self._ticks_per_s)
        # After a pause of the whole machine one turn over all buckets is enough.
        first = max(self._swept + 1, current - base + 1)
        expired: list[int] = []
        for tick in range(first, current + 1):
            head = tick % base
            while (node := self._next[head]) != head:
                self.clear(node - base)
                expired.append(node - base)
        self._swept = max(self._swept, current)
        return expired

    def _grow(self, size: int) -> None:
        more = array("i", (_FREE,)) * (size - len(self._next))
        self._next.extend(more)
        self._previous.extend(more)
