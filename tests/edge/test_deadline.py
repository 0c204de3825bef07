from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

from proxy.edge.deadline import Deadline


class Timer(asyncio.TimerHandle):
    """A handle that only its clock runs."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self._when = when
        self.callback = callback
        self.gone = False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.gone = True


class Clock:
    """A loop that is nothing but timers and a clock that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0
        self.armed = 0
        self._timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        self.armed += 1
        timer = Timer(when, callback)
        self._timers.append(timer)
        return timer

    @property
    def pending(self) -> int:
        return sum(not timer.gone for timer in self._timers)

    def turn_to(self, now: float) -> None:
        while due := [timer for timer in self._timers if timer.when() <= now and not timer.gone]:
            timer = min(due, key=Timer.when)
            self.now = timer.when()
            timer.gone = True
            timer.callback()
        self.now = now


def test_expires_once_at_its_time() -> None:
    clock, expired = Clock(), []
    deadline = Deadline(clock, lambda: expired.append(clock.now))
    deadline.set(5.0)
    clock.turn_to(104.9)
    assert expired == []
    clock.turn_to(200.0)
    assert expired == [105.0]


def test_a_deadline_that_moves_away_keeps_its_timer() -> None:
    clock, expired = Clock(), []
    deadline = Deadline(clock, lambda: expired.append(clock.now))
    for step in range(40):
        clock.turn_to(100.0 + step / 10)
        deadline.set(5.0)
    assert clock.armed == 1
    clock.turn_to(108.8)
    assert (expired, clock.armed) == ([], 2), "rung at 105, armed for what remained"
    clock.turn_to(110.0)
    assert expired == [108.9]


def test_a_nearer_deadline_is_not_missed() -> None:
    clock, expired = Clock(), []
    deadline = Deadline(clock, lambda: expired.append(clock.now))
    deadline.set(60.0)
    deadline.set(1.0)
    assert clock.pending == 1
    clock.turn_to(200.0)
    assert expired == [101.0]


def test_cleared_does_not_expire_and_is_set_again() -> None:
    clock, expired = Clock(), []
    deadline = Deadline(clock, lambda: expired.append(clock.now))
    deadline.set(5.0)
    deadline.clear()
    clock.turn_to(110.0)
    assert (expired, clock.pending) == ([], 0)
    deadline.set(5.0)
    clock.turn_to(120.0)
    assert expired == [115.0]


def test_cancelled_leaves_nothing_on_the_loop() -> None:
    clock, expired = Clock(), []
    deadline = Deadline(clock, lambda: expired.append(clock.now))
    deadline.set(5.0)
    deadline.cancel()
    assert clock.pending == 0
    clock.turn_to(200.0)
    assert expired == []


def test_who_had_a_cancelled_deadline_goes_without_the_collector() -> None:
    class Owner:
        def __init__(self) -> None:
            self.deadline = Deadline(Clock(), self.expired)

        def expired(self) -> None:
            """Never."""

    owner = Owner()
    gone = weakref.ref(owner)
    owner.deadline.set(5)
    owner.deadline.cancel()
    gc.disable()
    try:
        del owner
        assert gone() is None
    finally:
        gc.enable()
