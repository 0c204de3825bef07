"""Logging of one process: structlog, and what libraries say through the standard module.

Owns the writers. Rules: one per process, which a reload may configure again; a log call formats
its line and queues it, and never waits; tracebacks show code and messages, never the values of
locals, since those hold keys; what is not JSON is shown by its repr, which for secrets is
redacted; peers' text cannot begin a line, and no value is longer than VALUE_LIMIT.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import MutableMapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import ExceptionRenderer, TimeStamper, add_log_level

from proxy.telemetry.access import AccessLog
from proxy.telemetry.escaping import bounded, escaped
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.settings import LoggingSettings
from proxy.telemetry.writer import LineWriter, probe

__all__ = ["VALUE_LIMIT", "Logs"]

VALUE_LIMIT = 16 * 1024
"""Characters of one value; a traceback through every layer has about 8,000."""

_MAIN = "main"
_ACCESS = "access"

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_Event = MutableMapping[str, Any]


class Logs:
    """The logs of this process. Raises OSError when a file cannot be opened."""

    def __init__(
        self, settings: LoggingSettings, metrics: Metrics, *, role: str, slot: int | None = None
    ) -> None:
        self._process = role if slot is None else f"{role}-{slot}"
        self._dropped = {
            name: metrics.counter("vestibule_log_dropped_total", name) for name in (_MAIN, _ACCESS)
        }
        self._writers: dict[str, LineWriter] = {}
        self._retired: list[LineWriter] = []
        self.access = AccessLog()
        """Where requests are recorded; stays the same over `configure`."""
        self.configure(settings)

    @staticmethod
    def check(settings: LoggingSettings) -> None:
        """Raises OSError when a file of these settings cannot be opened."""
        access_file = None if settings.access == "off" else settings.access_file
        for path in (settings.file, access_file):
            if path is not None:
                probe(Path(path))

    def configure(self, settings: LoggingSettings) -> None:
        """Log as these settings say from now on; what is queued still goes where it was to go.

        Raises OSError when a file cannot be opened, and then nothing has changed.
        """
        former = self._writers
        main = LineWriter(_target(settings.file, sys.stderr), self._dropped[_MAIN])
        writers = {_MAIN: main}
        try:
            if settings.access != "off":
                target = _target(settings.access_file, sys.stdout)
                writers[_ACCESS] = LineWriter(target, self._dropped[_ACCESS])
        except OSError:
            main.close(0)
            raise
        self._writers = writers
        self._configure_structlog(settings, main)
        self.access.configure(settings.access, writers.get(_ACCESS))
        # A reload must not wait for a slow reader: their threads finish by themselves, or `close`
        # waits for them.
        self._retired = [one for one in (*self._retired, *former.values()) if not one.close(0)]

    def reopen(self) -> None:
        """Open the files anew, by name: they have been rotated (SIGUSR1)."""
        for writer in self._writers.values():
            writer.reopen()

    def close(self, timeout_s: float = 2.0) -> bool:
        """Write out what is queued, within the time. Returns whether all was. Nothing follows."""
        deadline = time.monotonic() + timeout_s
        written = True
        for writer in (*self._retired, *self._writers.values()):
            written &= writer.close(max(0.0, deadline - time.monotonic()))
        return written

    def _configure_structlog(self, settings: LoggingSettings, writer: LineWriter) -> None:
        level = _LEVELS[settings.level]
        console = settings.format == "console"
        structlog.configure(
            processors=[
                self._enveloped,
                add_log_level,
                TimeStamper(fmt="iso", utc=True),
                ExceptionRenderer(),
                _one_line if console else _limited,
                ConsoleRenderer(
                    colors=settings.file is None and sys.stderr.isatty(),
                    exception_formatter=plain_traceback,
                )
                if console
                else _json,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=partial(_LineLogger, writer),
            # Loggers are made at import, and have to follow a later `configure`.
            cache_logger_on_first_use=False,
        )
        logging.basicConfig(handlers=[_StandardHandler()], level=level, force=True)
        logging.captureWarnings(True)
        # asyncio's debug lines repeat what our own say.
        logging.getLogger("asyncio").setLevel(max(level, logging.WARNING))

    def _enveloped(self, logger: Any, _: str, event: _Event) -> _Event:
        event["logger"] = logger.name
        event["process"] = self._process
        return event


class _LineLogger:
    """What structlog hands a finished line to."""

    def __init__(self, writer: LineWriter, name: str = "vestibule") -> None:
        self._writer = writer
        self.name = name

    def msg(self, line: str) -> None:
        self._writer.put(line.encode("utf-8", "backslashreplace") + b"\n")

    debug = info = warning = error = critical = exception = log = msg


class _StandardHandler(logging.Handler):
    """Records of the standard module go the same way as ours."""

    def emit(self, record: logging.LogRecord) -> None:
        # Levels between the named ones count as the one below.
        level = max(logging.DEBUG, min(record.levelno // 10 * 10, logging.CRITICAL))
        try:
            log = structlog.get_logger(record.name)
            log.log(level, record.getMessage(), exc_info=record.exc_info or None)
        except Exception:
            # A record whose arguments do not fit its text is its library's bug; it must not
            # become an exception in whatever was being done.
            structlog.get_logger(record.name).log(level, "unprintable log record")


def _target(path: str | None, stream: TextIO) -> int | Path:
    return stream.fileno() if path is None else Path(path)


def _limited(_: Any, __: str, event: _Event) -> _Event:
    for key, value in event.items():
        if isinstance(value, str):
            if len(value) > VALUE_LIMIT:
                event[key] = bounded(value, VALUE_LIMIT)
        elif not isinstance(value, int | float | bool | None):
            event[key] = _plain(value)
    return event


def _plain(value: Any) -> Any:
    """Containers as JSON has them, when they are small; everything else by its repr."""
    if isinstance(value, list | tuple | dict):
        text = json.dumps(value, default=repr, skipkeys=True)
        return json.loads(text) if len(text) <= VALUE_LIMIT else bounded(text, VALUE_LIMIT)
    return bounded(repr(value), VALUE_LIMIT)


def _one_line(logger: Any, method: str, event: _Event) -> _Event:
    """For people: escape what could pass for another line or move a terminal's cursor."""
    for key, value in event.items():
        if key == "exception":
            lines = bounded(str(value), VALUE_LIMIT).splitlines()
            event[key] = "\n".join("  | " + escaped(line) for line in lines)
        elif not isinstance(value, int | float | bool | None):
            text = value if isinstance(value, str) else repr(value)
            event[key] = escaped(bounded(text, VALUE_LIMIT))
    return event


def _json(_: Any, __: str, event: _Event) -> str:
    leading = {key: event.pop(key) for key in ("timestamp", "level", "process", "logger", "event")}
    # ensure_ascii, the default, escapes all but printable ASCII.
    return json.dumps({**leading, **event}, default=repr)
