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
}


class FrontMetrics:
    """Counts into the process's ``Metrics``."""

    __slots__ = ("_accepted", "_finished", "_hellos", "_metrics")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._hellos = {
            kind: metrics.counter("vestibule_hellos_total", kind, _VERSION)
            for kind in ("direct", "retry")
        }
        self._finished: dict[tuple[int, int], Counter] = {}
        self._accepted: dict[str, Counter] = {}

    def accepted(self, listener: str) -> None:
        """A client came."""
        cell = self._accepted.get(listener)
        if cell is None:
            cell = self._metrics.counter("vestibule_connections_total", listener)
            self._accepted[listener] = cell
        cell.value += 1

    def accept_error(self, reason: str) -> None:
        """accept(2) failed."""
        self._metrics.counter("vestibule_accept_errors_total", reason).value += 1

    def hello(self, kind: str) -> None:
        """A whole hello was answered."""
        self._hellos[kind].value += 1

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
        self._metrics.counter(
            "vestibule_handshake_failures_total",
            _STAGES[Stage(stage)],
            "none" if alert is None else alert.name.lower(),
            reason,
        ).value += 1

    def reaped(self, stage: int) -> None:
        """A client waited too long."""
        store = _STORES.get(Stage(stage), "other")
        self._metrics.counter("vestibule_reaped_total", store).value += 1


def errno_label(error: OSError) -> str:
    """An error's symbolic name in lower case, as a metric label."""
    return errno.errorcode.get(error.errno or 0, "os_error").lower()
