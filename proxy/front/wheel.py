"""Deadlines by descriptor in a wheel of buckets: set, clear and expire at constant cost each.

A doubly linked list per bucket, its links in arrays indexed by descriptor number: 8 bytes for
a client, no object. What expires is paid for, what is stored is not. Deadlines are met up to one
``tick_s`` late, never early.
"""

from array import array
from math import ceil
from typing import Final

__all__ = ["DeadlineWheel"]

_NONE: Final = -1
_FIRST_SIZE: Final = 1024


class DeadlineWheel:
    """At most one deadline for each descriptor, at most ``horizon_s`` ahead.

    ``now`` is monotonic seconds throughout. Links of the buckets' heads live behind those of the
    descriptors as negative numbers: head ``b`` is ``-2 - b``.
    """

    __slots__ = (
        "_head_next",
        "_head_previous",
        "_next",
        "_previous",
        "_swept",
        "_tick_s",
        "horizon_s",
    )

    def __init__(self, horizon_s: float, tick_s: float, now: float) -> None:
        buckets = ceil(horizon_s / tick_s) + 2
        self.horizon_s = horizon_s
        self._tick_s = tick_s
        self._swept = int(now / tick_s)
        heads = array("i", (-2 - bucket for bucket in range(buckets)))
        self._head_next = heads
        self._head_previous = heads[:]
        self._next = array("i", (_NONE,)) * _FIRST_SIZE
        self._previous = array("i", (_NONE,)) * _FIRST_SIZE

    def set(self, descriptor: int, deadline: float, now: float) -> None:
        """Put or move the deadline of ``descriptor``."""
        if descriptor >= len(self._next):
            self._grow(descriptor)
        elif self._next[descriptor] != _NONE:
            self.clear(descriptor)
        latest = min(deadline, now + self.horizon_s)
        # Rounded up, and never into a bucket that has been swept already.
        tick = max(int(latest / self._tick_s) + 1, self._swept + 1)
        head = -2 - tick % len(self._head_next)
        last = self._before(head)
        self._link(last, descriptor)
        self._link(descriptor, head)

    def clear(self, descriptor: int) -> None:
        """Forget the deadline, if there is one."""
        if descriptor >= len(self._next) or self._next[descriptor] == _NONE:
            return
        self._link(self._previous[descriptor], self._next[descriptor])
        self._next[descriptor] = self._previous[descriptor] = _NONE

    def expire(self, now: float) -> list[int]:
        """Descriptors whose deadline has passed, in order of time; they are forgotten."""
        current = int(now / self._tick_s)
        # After a pause of the whole machine one turn over all buckets is enough.
        first = max(self._swept + 1, current - len(self._head_next) + 1)
        expired: list[int] = []
        for tick in range(first, current + 1):
            head = -2 - tick % len(self._head_next)
            while (descriptor := self._after(head)) != head:
                self.clear(descriptor)
                expired.append(descriptor)
        self._swept = max(self._swept, current)
        return expired

    def _before(self, node: int) -> int:
        return self._previous[node] if node >= 0 else self._head_previous[-2 - node]

    def _after(self, node: int) -> int:
        return self._next[node] if node >= 0 else self._head_next[-2 - node]

    def _link(self, left: int, right: int) -> None:
        if left >= 0:
            self._next[left] = right
        else:
            self._head_next[-2 - left] = right
        if right >= 0:
            self._previous[right] = left
        else:
            self._head_previous[-2 - right] = left

    def _grow(self, descriptor: int) -> None:
        more = array("i", (_NONE,)) * (max(descriptor + 1, 2 * len(self._next)) - len(self._next))
        self._next.extend(more)
        self._previous.extend(more)
