"""What processes and the kernel hold in memory, read from /proc.

Rule: a number that may not be read here (some are root's) is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["kernel_bytes", "socket_pages", "user_bytes"]


def user_bytes(pids: Iterable[int]) -> int | None:
    """Proportional set size of all these processes, as far as no file is behind it.

    Pages of files would lie: whoever else maps the same library, such as a Python process of the
    test, makes our share of it smaller.
    """
    try:
        return sum(_anonymous(Path(f"/proc/{pid}/smaps_rollup")) for pid in pids)
    except PermissionError:
        return None


def kernel_bytes() -> int | None:
    """All slab objects in use: sockets, files, inodes, epoll items, timers, whoever they serve."""
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()[2:]
    except PermissionError:
        return None
    return sum(int(fields[1]) * int(fields[3]) for fields in map(str.split, lines))


def socket_pages() -> int:
    """Pages in TCP's buffers (sockstat's `mem`), of the whole machine."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            return int(line.rpartition(" mem ")[2])
    raise AssertionError("no TCP in sockstat")


def _anonymous(path: Path) -> int:
    for line in path.read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no Pss_Anon in {path}")
