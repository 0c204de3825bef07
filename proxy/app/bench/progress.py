"""A bar on a terminal for what takes a minute; nothing where nobody watches.

Rule: it writes to standard error only, so that a table can be piped away, and leaves no trace.
"""

from __future__ import annotations

import shutil
from types import TracebackType
from typing import Self, TextIO

__all__ = ["Progress"]

_BAR = 24
_ERASE = "\r\x1b[K"


class Progress:
    """`total` steps, each named when it begins."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._begun = 0
        self._shown = stream.isatty()

    def step(self, name: str) -> None:
        """The next step begins."""
        if self._shown:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(_ERASE + self._line(name)[:width])
            self._stream.flush()
        self._begun += 1

    def _line(self, name: str) -> str:
        done = min(self._begun / max(self._total, 1), 1.0)
        filled = round(done * _BAR)
        return f"[{'#' * filled}{'.' * (_BAR - filled)}] {done:4.0%}  {name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._stream.write(_ERASE)
            self._stream.flush()
