"""What this process costs, and how late its event loop is.

Owns gauges of memory, CPU time and descriptors, asked for at a scrape and not before, and the
timer that measures the loop. Rules: a scrape of a front with 15,000 descriptors must not list
them one by one where the kernel can say how many they are.
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import time
from pathlib import Path

from proxy.telemetry.metrics import Metrics

__all__ = ["LoopLag", "measure_process", "open_descriptors", "resident_bytes"]

_DESCRIPTORS = Path("/proc/self/fd")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_TICK_S = 0.1
"""Lag is sampled ten times a second: 10 us of work each, and a stall of 0.1 s is never missed."""

_WINDOW_S = 15.0
"""How long a maximum is kept at least: the usual interval between scrapes."""


def measure_process(metrics: Metrics, role: str, slot: int, version: str) -> None:
    """Register the gauges of this process; they read /proc at each snapshot."""
    labels = (role, str(slot))
    metrics.gauge_function("vestibule_process_resident_memory_bytes", resident_bytes, *labels)
    metrics.counter_function("vestibule_process_cpu_seconds_total", time.process_time, *labels)
    metrics.gauge_function("vestibule_process_open_fds", open_descriptors, *labels)
    metrics.gauge_function("vestibule_process_max_fds", _descriptor_limit, *labels)
    metrics.gauge("vestibule_build_info", version, platform.python_version()).value = 1


def resident_bytes() -> int:
    """Resident memory, shared pages included. Raises OSError without /proc."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES


def open_descriptors() -> int:
    """How many descriptors are open. Raises OSError without /proc."""
    # Since Linux 6.2 the directory's size is their number.
    return _DESCRIPTORS.stat().st_size or sum(1 for _ in _DESCRIPTORS.iterdir()) - 1


def _descriptor_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class LoopLag:
    """How late timers run on the current loop: the longest of the last 15 to 30 seconds.

    Starts at once; `stop` ends it. Beside it, how many tasks the loop has.
    """

    def __init__(self, metrics: Metrics, role: str, slot: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._current_s = 0.0
        self._previous_s = 0.0
        self._window_end = self._loop.time() + _WINDOW_S
        self._timer = self._loop.call_later(_TICK_S, self._tick, self._loop.time() + _TICK_S)
        metrics.gauge_function(
            "vestibule_event_loop_lag_seconds", lambda: self.seconds, role, str(slot)
        )
        metrics.gauge_function(
            "vestibule_event_loop_tasks",
            lambda: len(asyncio.all_tasks(self._loop)),
            role,
            str(slot),
        )

    @property
    def seconds(self) -> float:
        """The longest delay seen lately."""
        return max(self._current_s, self._previous_s)

    def stop(self) -> None:
        """Measure no longer."""
        self._timer.cancel()

    def _tick(self, due: float) -> None:
        now = self._loop.time()
        if now >= self._window_end:
            self._previous_s, self._current_s = self._current_s, 0.0
            self._window_end = now + _WINDOW_S
        self._current_s = max(self._current_s, now - due)
        self._timer = self._loop.call_later(_TICK_S, self._tick, now + _TICK_S)
