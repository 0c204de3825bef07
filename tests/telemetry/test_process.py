"""What a process says of itself."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path

from proxy.telemetry import LoopLag, Metrics, measure_process
from proxy.telemetry.process import open_descriptors, resident_bytes


def test_resident_memory_is_what_the_kernel_says() -> None:
    status = Path("/proc/self/status").read_text()
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
    assert abs(resident_bytes() - kilobytes * 1024) < 4 * 1024 * 1024


def test_open_descriptors_are_counted() -> None:
    before = open_descriptors()
    pipe = os.pipe()
    assert open_descriptors() == before + 2
    for descriptor in pipe:
        os.close(descriptor)
    assert open_descriptors() == before


def test_a_process_measures_itself() -> None:
    metrics = Metrics()
    measure_process(metrics, "worker", 3, "1.2.3")
    first = metrics.snapshot()
    assert first["vestibule_process_resident_memory_bytes"][0][0] == ["worker", "3"]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert first["vestibule_process_max_fds"] == [[["worker", "3"], limit]]
    assert first["vestibule_build_info"][0][0][0] == "1.2.3"
    used = first["vestibule_process_cpu_seconds_total"][0][1]
    while time.process_time() < used + 0.01:
        pass
    assert metrics.snapshot()["vestibule_process_cpu_seconds_total"][0][1] > used


async def test_a_stalled_loop_is_seen() -> None:
    metrics = Metrics()
    lag = LoopLag(metrics, "front", 0)
    assert lag.seconds == 0
    stall_until = time.monotonic() + 0.3
    while time.monotonic() < stall_until:
        pass
    ticked = asyncio.Event()
    # Its timer was due before this one, so it has run by then.
    asyncio.get_running_loop().call_soon(ticked.set)
    await asyncio.wait_for(ticked.wait(), 10)
    lag.stop()
    [[labels, seconds]] = metrics.snapshot()["vestibule_event_loop_lag_seconds"]
    assert labels == ["front", "0"]
    assert 0.15 < seconds < 5
