"""What the processes of a proxy hold, looked at again and again.

Rules: the kernel is asked, not the process, where it knows; a process is followed by its role, slot
and id, so that one that was replaced shows as two short series and not as one that shrank.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.deployment import Vestibule

__all__ = ["QUANTITIES", "Samples", "Series"]

QUANTITIES = {
    "memory": "KiB, anonymous and resident",
    "descriptors": "open",
    "threads": "of the kernel",
    "half_open": "handshakes in tables",
    "table_bytes": "of handshake tables",
    "connections": "of clients",
    "tasks": "on the event loop",
}
"""What is looked at, and in what unit."""


@dataclass
class Series:
    """One quantity of one process over time."""

    seconds: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, at_s: float, value: float) -> None:
        """One more."""
        self.seconds.append(at_s)
        self.values.append(value)

    def since(self, begin_s: float) -> Series:
        """What was seen from then on."""
        pairs = [pair for pair in zip(self.seconds, self.values, strict=True) if pair[0] >= begin_s]
        return Series([at for at, _ in pairs], [value for _, value in pairs])


class Samples:
    """All series: of each process, and of the whole proxy, which is called `proxy`."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self.series: dict[tuple[str, str], Series] = {}
        """By process and quantity."""

    @property
    def elapsed_s(self) -> float:
        """Since the first look could be taken."""
        return time.monotonic() - self._began_s

    def look(self, proxy: Vestibule) -> None:
        """Take one sample of everything."""
        now_s = self.elapsed_s
        for name, pid in _processes(proxy):
            for quantity, value in _of_process(pid).items():
                self._add(name, quantity, now_s, value)
        scrape = proxy.metrics()
        whole = {
            "half_open": scrape.value("vestibule_handshakes_half_open"),
            "table_bytes": scrape.value("vestibule_handshakes_half_open_bytes"),
            "connections": scrape.value("vestibule_connections_open"),
            "tasks": scrape.value("vestibule_event_loop_tasks"),
        }
        for quantity, value in whole.items():
            self._add("proxy", quantity, now_s, value)

    def _add(self, process: str, quantity: str, at_s: float, value: float) -> None:
        self.series.setdefault((process, quantity), Series()).add(at_s, value)


def _processes(proxy: Vestibule) -> Iterator[tuple[str, int]]:
    yield f"supervisor ({proxy.process.pid})", proxy.process.pid
    for one in proxy.status()["processes"]:
        if one["pid"] is not None:
            yield f"{one['role']} {one['slot']} ({one['pid']})", one["pid"]


def _of_process(pid: int) -> dict[str, float]:
    fields = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        fields[name] = value.split()
    found = {"memory": float(fields["RssAnon"][0]), "threads": float(fields["Threads"][0])}
    with contextlib.suppress(PermissionError):  # only root looks into processes that hold keys
        found["descriptors"] = float(len(list(Path(f"/proc/{pid}/fd").iterdir())))
    return found
