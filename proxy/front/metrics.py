"""What the front counts, as cells that are looked up once."""

import errno

from proxy.front.answerer import Stage
from proxy.telemetry import Counter, Metrics
from proxy.tls import Established
from proxy.wire import AlertDescription

__all__ = ["FrontMetrics", "errno_label"]

_VERSION = "1.3"
_STAGES = {stage: stage.name.lower() for stage in Stage}
_STORES = {
    Stage.HELLO: "hellos",
    Stage.SECOND_HELLO: "hellos",
    Stage.REPLY: "replies",
    Stage.LINGER: "refused",
    Stage.SIGNATURE: "signatures",
}


class FrontMetrics:
    """Counts into the process's ``Metrics``."""

    __slots__ = (
        "_direct",
        "_failures",
        "_finished",
        "_metrics",
        "_retry",
        "_returned",
    )

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._direct = metrics.counter("vestibule_hellos_total", "direct", _VERSION)
        self._retry = metrics.counter("vestibule_hellos_total", "retry", _VERSION)
        self._returned = metrics.counter("vestibule_retries_returned_total")
        self._finished: dict[tuple[int, int], Counter] = {}
        self._failures: dict[tuple[int, AlertDescription | None, str], Counter] = {}

    def accepted(self, listener: str) -> Counter:
        """Clients that came to this listener."""
        return self._metrics.counter("vestibule_connections_total", listener)

    def accept_error(self, reason: str) -> None:
        """accept(2) failed."""
        self._metrics.counter("vestibule_accept_errors_total", reason).value += 1

    def hello(self, retried: bool) -> None:
        """A whole first hello was answered."""
        cell = self._retry if retried else self._direct
        cell.value += 1

    def retry_returned(self) -> None:
        """A second hello brought its cookie back."""
        self._returned.value += 1

    def pressure(self, active: bool, reason: str) -> None:
        """Adaptive listeners answer otherwise from now on."""
        kind = "began" if active else "ended"
        self._metrics.counter("vestibule_pressure_changes_total", kind, reason).value += 1

    def finished(self, context: Established) -> None:
        """A client's reply has verified."""
        key = (context.suite, context.group)
        cell = self._finished.get(key)
        if cell is None:
            cell = self._metrics.counter(
                "vestibule_handshakes_total",
                _VERSION,
                context.suite.name,
                context.group.name.lower(),
                "false",
            )
            self._finished[key] = cell
        cell.value += 1

    def failure(self, stage: int, alert: AlertDescription | None, reason: str) -> None:
        """A handshake ended without Finished."""
        key = (stage, alert, reason)
        cell = self._failures.get(key)
        if cell is None:
            cell = self._metrics.counter(
                "vestibule_handshake_failures_total",
                _STAGES[Stage(stage)],
                "none" if alert is None else alert.name.lower(),
                reason,
            )
            self._failures[key] = cell
        cell.value += 1
        if stage == Stage.SECOND_HELLO and alert is not None:
            self._metrics.counter("vestibule_retries_refused_total", reason).value += 1

    def reaped(self, stage: int) -> None:
        """A client waited too long."""
        store = _STORES.get(Stage(stage), "other")
        self._metrics.counter("vestibule_reaped_total", store).value += 1


def errno_label(error: OSError) -> str:
    """An error's symbolic name in lower case, as a metric label."""
    return errno.errorcode.get(error.errno or 0, "os_error").lower()
