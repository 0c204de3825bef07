"""Lines to a file or stream without ever waiting for it.

Owns a bounded queue and the one thread that drains it. Rules: `put` never blocks: a full queue
drops the line and counts it; lines are written whole and in order, many in one write; a slow,
full or vanished target costs lines, never the process; `reopen` after rotation keeps the old
file when the new one cannot be opened.
"""

from __future__ import annotations

import enum
import os
import select
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

from proxy.telemetry.metrics import Counter

__all__ = ["LineWriter", "probe"]

_GATHER_S = 0.05
"""The thread wakes at most this often: each wake-up takes the interpreter lock from the loop."""

_WRITE_BYTES = 256 * 1024
"""Lines of about this size together go into one write."""

_RETRY_MS = 1000
"""Pause before a non-blocking target that is full is tried again without its own sign."""

_DROPPING = threading.Lock()
"""Both a loop and a writer's thread count what is dropped. Held for one addition."""


class _Mark(enum.Enum):
    """Stands between lines in the queue."""

    REOPEN = enum.auto()
    """From here on, lines go to the file opened anew."""
    END = enum.auto()
    """Nothing follows."""


class LineWriter:
    """Writes lines to a descriptor, which stays its owner's, or to a file, opened for appending.

    `dropped` counts lines that were not written: the queue was full, or the target failed.
    Raises OSError when the file cannot be opened.
    """

    def __init__(self, target: int | Path, dropped: Counter, *, limit: int = 8192) -> None:
        self._path = target if isinstance(target, Path) else None
        self._descriptor = target if isinstance(target, int) else _opened(target)
        self._limit = limit
        self._queue: SimpleQueue[bytes | _Mark] = SimpleQueue()
        self._dropped = dropped
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vestibule-log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue one line, its line feed included."""
        if self._queue.qsize() >= self._limit or self._closing.is_set():
            self._drop(1)
        else:
            self._queue.put(line)

    def reopen(self) -> None:
        """Write later lines to the file that has the name then. Streams stay as they are."""
        if self._path is not None:
            self._queue.put(_Mark.REOPEN)

    def close(self, timeout_s: float) -> bool:
        """Write what is queued, for at most so long. Returns whether all of it was."""
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(_Mark.END)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        mark: _Mark | None = None
        behind = False
        while mark is not _Mark.END:
            entry = self._queue.get()
            if not behind:
                self._closing.wait(_GATHER_S)
            lines, mark = self._gather(entry)
            behind = mark is None and not self._queue.empty()
            self._write(lines)
            if mark is _Mark.REOPEN:
                self._swap()
        if self._path is not None:
            os.close(self._descriptor)

    def _gather(self, entry: bytes | _Mark) -> tuple[list[bytes], _Mark | None]:
        """What is queued, up to one write's worth, and the mark that ended it."""
        lines: list[bytes] = []
        size = 0
        while not isinstance(entry, _Mark):
            lines.append(entry)
            size += len(entry)
            if size >= _WRITE_BYTES:
                break
            try:
                entry = self._queue.get_nowait()
            except Empty:
                break
        else:
            return lines, entry
        return lines, None

    def _write(self, lines: list[bytes]) -> None:
        view = memoryview(b"".join(lines))
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                self._await_room()
            except OSError:
                # Disk full, reader gone: there is nowhere to say so but the metric.
                self._drop(max(1, bytes(view).count(b"\n")))
                return

    def _drop(self, lines: int) -> None:
        with _DROPPING:
            self._dropped.value += lines

    def _await_room(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll(_RETRY_MS)

    def _swap(self) -> None:
        if self._path is None:
            return
        try:
            descriptor = _opened(self._path)
        except OSError:
            return
        os.close(self._descriptor)
        self._descriptor = descriptor


def probe(path: Path) -> None:
    """Open the file as a writer would, and close it. Raises OSError."""
    os.close(_opened(path))


def _opened(path: Path) -> int:
    # Append: several processes write whole lines to the same file.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    return os.open(path, flags, 0o640)
