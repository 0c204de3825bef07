"""Decides which child processes to start and which to retire; does nothing itself.

Pure: desired counts, facts about each slot and the time go in, actions and the time of the next
look come out. Back-off: the first quick death is replaced at once (most deaths are single), then
the wait doubles up to five seconds; a child that has lived long enough clears the account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proxy.app.role import ROLES

__all__ = [
    "CRASH_LOOP_DEATHS",
    "QUICK_S",
    "Actions",
    "SlotFacts",
    "crash_looping",
    "delay_s",
    "plan",
]

QUICK_S = 10.0
"""A child that dies younger than this died quickly: start-up takes under two seconds."""

CRASH_LOOP_DEATHS = 3
"""Quick deaths in a row from which a slot counts as crash-looping, for `/healthz`."""

_FIRST_DELAY_S = 0.5
_MAX_DELAY_S = 5.0


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """What is known of one slot."""

    role: str
    slot: int
    started_at: float | None = None
    """When its present child was started; None: there is none."""
    died_at: float = 0.0
    """When the last one died."""
    quick_deaths: int = 0
    """Quick deaths in a row."""
    retiring: bool = False
    """The child has been told to drain."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What to do now, and when to look again (None: when something happens)."""

    start: tuple[tuple[str, int], ...] = ()
    retire: tuple[tuple[str, int], ...] = ()
    look_again_at: float | None = None


def delay_s(quick_deaths: int) -> float:
    """Seconds to wait before replacing a child after so many quick deaths in a row."""
    if quick_deaths <= 1:
        return 0.0
    return min(_FIRST_DELAY_S * 2.0 ** min(quick_deaths - 2, 10), _MAX_DELAY_S)


def crash_looping(slot: SlotFacts, now: float) -> bool:
    """Whether this slot's children keep dying; true until one has lived long enough."""
    lived = slot.started_at is not None and now - slot.started_at >= QUICK_S
    return slot.quick_deaths >= CRASH_LOOP_DEATHS and not lived


def plan(desired: Mapping[str, int], slots: Sequence[SlotFacts], now: float) -> Actions:
    """Compare what should run with what does."""
    known = {(item.role, item.slot): item for item in slots}
    start: list[tuple[str, int]] = []
    waits: list[float] = []
    for role in ROLES:
        for slot in range(desired.get(role, 0)):
            facts = known.get((role, slot), SlotFacts(role, slot))
            if facts.started_at is not None:
                continue
            due = facts.died_at + delay_s(facts.quick_deaths)
            if due <= now:
                start.append((role, slot))
            else:
                waits.append(due)
    retire = tuple(
        (item.role, item.slot)
        for item in slots
        if item.started_at is not None
        and not item.retiring
        and item.slot >= desired.get(item.role, 0)
    )
    return Actions(tuple(start), retire, min(waits, default=None))
