"""What every child process measures and logs, whatever its role."""

from __future__ import annotations

import structlog

from proxy import __version__
from proxy.telemetry import AccessLog, LoggingSettings, Logs, LoopLag, Metrics, measure_process

__all__ = ["ProcessTelemetry"]

_log = structlog.get_logger("vestibule.child")


class ProcessTelemetry:
    """One process's metrics and logs; the logs follow the configuration in force."""

    def __init__(self, role: str, slot: int) -> None:
        self.metrics = Metrics()
        # From the first line on: structlog's own default would print the locals of a traceback.
        self._settings = LoggingSettings(access="off")
        self._configured = False
        self._logs = Logs(self._settings, self.metrics, role=role, slot=slot)
        measure_process(self.metrics, role, slot, __version__)
        self._lag = LoopLag(self.metrics, role, slot)

    @property
    def access(self) -> AccessLog:
        """Where requests are recorded."""
        return self._logs.access

    def check(self, settings: LoggingSettings) -> None:
        """Raises OSError where `configure` could not do what a coming generation says.

        Never in a process that serves nothing yet: to serve matters more than to log.
        """
        if self._configured and settings != self._settings:
            self._logs.check(settings)

    def configure(self, settings: LoggingSettings) -> None:
        """Log as this generation says; where that cannot be done, as before, and say so."""
        self._configured = True
        if settings == self._settings:
            return
        try:
            self._logs.configure(settings)
        except (OSError, RuntimeError) as error:  # no descriptor or no thread to be had, too
            _log.error("log_not_opened", error=str(error))
        else:
            self._settings = settings

    def reopen(self) -> None:
        """Open log files again by name."""
        self._logs.reopen()

    def close(self) -> None:
        """Write out what is queued."""
        self._lag.stop()
        self._logs.close()
