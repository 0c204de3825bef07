"""What processes use, read from /proc: CPU time and memory of their own.

Rules: a server is its process with all descendants; CPU time is read when it has settled, because a
burst's last closes are served after its last answer; nothing here needs privileges, though with
them memory is counted more exactly.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["cpu_s", "family", "private_bytes", "settled_cpu_s"]

_PAUSE_S = 0.02
_QUIET_S = 0.0005
"""What timers of an idle server may take within the pause."""
_PATIENCE_S = 2.0


def family(pid: int) -> list[int]:
    """The process and all its descendants that exist."""
    found = [pid]
    for parent in found:
        try:
            threads = list(Path(f"/proc/{parent}/task").iterdir())
            children = [(thread / "children").read_text() for thread in threads]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [int(child) for line in children for child in line.split()]
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """CPU time, user and kernel, that all threads of the processes have had. Raises OSError."""
    spent_ns = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            # Its first number counts in nanoseconds; /proc/PID/stat in whole ticks of 10 ms.
            spent_ns += int((thread / "schedstat").read_text().split()[0])
    return spent_ns / 1e9


def settled_cpu_s(pids: Sequence[int]) -> float:
    """CPU time once the processes have gone quiet, or after two seconds of patience."""
    deadline = time.monotonic() + _PATIENCE_S
    spent = cpu_s(pids)
    while True:
        time.sleep(_PAUSE_S)
        before, spent = spent, cpu_s(pids)
        if spent - before < _QUIET_S or time.monotonic() > deadline:
            return spent


def private_bytes(pids: Iterable[int]) -> int:
    """Anonymous memory of the processes, shared pages counted once. Raises OSError.

    Pages of files would lie: whoever else maps the same library makes our share smaller.
    """
    return sum(_anonymous_bytes(pid) for pid in pids)


def _anonymous_bytes(pid: int) -> int:
    try:
        return _kibibytes(f"/proc/{pid}/smaps_rollup", "Pss_Anon:")
    except PermissionError:
        # Our processes cannot be inspected by other users' tools, nor by their own user's; what
        # they share by fork is nothing, so that this comes to the same.
        return _kibibytes(f"/proc/{pid}/status", "RssAnon:")


def _kibibytes(path: str, key: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {key[:-1]} in {os.fspath(path)}")
