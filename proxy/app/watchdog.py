"""Who of the children has stopped answering: an endless loop and a stopped process look alike.

Owns the judgement; asks no clock and kills nobody. Each round asks every child whether its loop
runs; one that has said nothing at all since the questions of `ROUNDS` rounds in a row is stuck.
Rules: rounds are counted and not time, since a supervisor that was stopped for an hour has heard
nobody for an hour; a round that comes late forgives everybody, for what stopped the supervisor
may have stopped them too; a child that starts, loads a configuration or commits to one is excused,
because that has limits of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

__all__ = ["ROUNDS", "Watchdog", "Watched"]

ROUNDS = 3
"""Questions that a child may leave unanswered. More than one, so that a single lost wake-up of an
overloaded machine is no verdict; few, since each lengthens the time to it by its share."""


class Watched(Protocol):
    """What is asked, and answers or not."""

    unanswered: int
    """Questions since its last word."""

    @property
    def excused(self) -> bool:
        """Whether it need not answer now."""

    def ask_alive(self) -> None:
        """Ask, and count the question as unanswered."""


T = TypeVar("T", bound=Watched)


class Watchdog:
    """The rounds over all children of one supervisor."""

    def __init__(self) -> None:
        self._latest_s: float | None = None
        """Until when the next round is in time."""

    def round(self, children: Iterable[T], every_s: float, now: float) -> list[T]:
        """Ask everybody; gives those who are stuck.

        `every_s` is the time to the next round, `now` is monotonic seconds.
        """
        late = self._latest_s is not None and now > self._latest_s
        self._latest_s = now + 2 * every_s
        stuck: list[T] = []
        for child in children:
            if late or child.excused:
                child.unanswered = 0
            if child.unanswered >= ROUNDS:
                stuck.append(child)
            else:
                child.ask_alive()
        return stuck
