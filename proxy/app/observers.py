"""What workers count: requests and backends, wired to the metrics and the access log."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from proxy.http import RequestRecord
from proxy.serve import TcpOutcome
from proxy.telemetry import AccessLog, Counter, Histogram, Metrics, TlsFacts
from proxy.tls import TlsError
from proxy.upstream import Backend, ServerAddress

__all__ = ["ConnectionMetrics", "HttpObserver", "RequestMetrics", "UpstreamMetrics"]

_log = structlog.get_logger("vestibule.http")

# Methods that exist; anything else a client invents is one label.
_METHODS = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"}
)


class RequestMetrics:
    """Cells of requests, looked up once for each combination."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._requests: dict[tuple[str | None, bytes, int], Counter] = {}
        self._seconds: dict[str | None, Histogram] = {}

    def count(self, record: RequestRecord) -> None:
        """One finished request."""
        key = (record.backend, record.method, record.status // 100)
        cell = self._requests.get(key)
        if cell is None:
            method = record.method.decode("ascii") if record.method in _METHODS else "other"
            cell = self._metrics.counter(
                "vestibule_requests_total",
                record.backend or "none",
                method,
                f"{record.status // 100}xx",
            )
            if record.method in _METHODS:
                self._requests[key] = cell
        cell.value += 1
        seconds = self._seconds.get(record.backend)
        if seconds is None:
            seconds = self._metrics.histogram("vestibule_request_seconds", record.backend or "none")
            self._seconds[record.backend] = seconds
        seconds.observe(record.duration_s)


class ConnectionMetrics:
    """How established connections end, whatever they carry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def tls_failed(self, error: TlsError) -> None:
        """A record or message of the client broke the connection."""
        alert = "none" if error.alert is None else error.alert.name.lower()
        self._metrics.counter("vestibule_tls_failures_total", alert, error.reason).value += 1

    def tcp_ended(self, backend: str, result: TcpOutcome) -> None:
        """A tcp route's connection is over."""
        self._metrics.counter("vestibule_tcp_connections_total", backend, result).value += 1


class HttpObserver:
    """The requests of client connections that have their TLS facts in common."""

    __slots__ = ("_access", "_requests", "_tls")

    def __init__(self, requests: RequestMetrics, access: AccessLog, tls: TlsFacts) -> None:
        self._requests = requests
        self._access = access
        self._tls = tls

    def request_finished(self, record: RequestRecord) -> None:
        """Count it and log it."""
        self._requests.count(record)
        self._access.write(record, self._tls)

    def defect(self, error: Exception) -> None:
        """A bug of ours, which has cost one connection."""
        _log.error("request_failed", exc_info=error)


class UpstreamMetrics:
    """Connects and health of backends."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def dialed(
        self, backend: str, server: ServerAddress, result: str, seconds: float, resumed: bool
    ) -> None:
        """A connect has ended."""
        self._metrics.counter("vestibule_backend_connects_total", backend, result).value += 1
        self._metrics.histogram("vestibule_backend_connect_seconds", backend).observe(seconds)
        if result != "ok":
            _log.warning(
                "backend_connect_failed", backend=backend, server=str(server), reason=result
            )

    def set_aside(self, backend: str, server: ServerAddress, seconds: float) -> None:
        """A server fails and gets no requests for a while."""
        _log.warning("backend_set_aside", backend=backend, server=str(server), seconds=seconds)

    def returned(self, backend: str, server: ServerAddress) -> None:
        """It answers again."""
        _log.info("backend_returned", backend=backend, server=str(server))

    def refresh(self, backends: Iterable[Backend]) -> None:
        """Bring the gauges up to date: called for a scrape."""
        for family in ("vestibule_backend_up", "vestibule_backend_idle_connections"):
            self._metrics.clear(family)
        for backend in backends:
            name = backend.settings.name
            idle = 0
            for one in backend.state():
                gauge = self._metrics.gauge("vestibule_backend_up", name, str(one.server))
                gauge.value = int(one.in_rotation)
                idle += one.idle
            self._metrics.gauge("vestibule_backend_idle_connections", name).value = idle
