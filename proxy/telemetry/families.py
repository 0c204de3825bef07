"""Every metric family there is: the one table that processes count by and scrapes are made from.

Rules: names begin with `vestibule_` and end in their base unit, counters in `_total`
(Prometheus' naming); label sets are bounded by `limit`; a family that is not here cannot be
counted, so documents and alert rules can be checked against this table.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["FAMILIES", "FAMILIES_BY_NAME", "Family", "Kind", "Merge"]


class Kind(enum.Enum):
    """What a family's numbers are."""

    COUNTER = "counter"
    """Only grows; survives the process that counted."""
    GAUGE = "gauge"
    """A state; vanishes with its process."""
    HISTOGRAM = "histogram"
    """Counts by bucket and a sum; survives as a counter does."""


class Merge(enum.Enum):
    """How the values that several processes have for one label set become one."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, ascending, without +Inf."""
    merge: Merge = Merge.SUM
    """For gauges; counters and histograms are summed."""
    limit: int = 128
    """Label sets in one process. What comes beyond is counted with every label "other"."""


_SHORT_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
"""Between processes of one machine: 0.1 ms is an idle worker, beyond 0.1 s is trouble."""
_CONNECT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""TCP and TLS to a backend, up to the default connect timeout."""
_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""From a cached answer to the default read timeout."""


def _counter(name: str, help_: str, *labels: str, limit: int = 128) -> Family:
    return Family(name, Kind.COUNTER, help_, labels, limit=limit)


def _gauge(
    name: str, help_: str, *labels: str, merge: Merge = Merge.SUM, limit: int = 128
) -> Family:
    return Family(name, Kind.GAUGE, help_, labels, merge=merge, limit=limit)


def _histogram(name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Family:
    return Family(name, Kind.HISTOGRAM, help_, labels, buckets)


_FRONT = (
    _gauge("vestibule_handshakes_half_open", "Handshakes whose client has not replied yet."),
    _gauge("vestibule_handshakes_half_open_limit", "Half-open handshakes that are kept at most."),
    _gauge("vestibule_handshakes_half_open_bytes", "Bytes kept for half-open handshakes."),
    _gauge(
        "vestibule_handshakes_half_open_oldest_age_seconds",
        "Age of the oldest half-open handshake.",
        merge=Merge.MAX,
    ),
    _counter(
        "vestibule_hellos_total",
        "Whole ClientHellos, by how they were answered and the version chosen.",
        "answer",
        "version",
    ),
    _counter("vestibule_retries_returned_total", "Second hellos that brought their cookie back."),
    _counter("vestibule_retries_refused_total", "Second hellos that were refused.", "reason"),
    _gauge(
        "vestibule_pressure_active",
        "Fronts whose adaptive listeners answer by HelloRetryRequest now.",
    ),
    _counter(
        "vestibule_pressure_changes_total",
        "Times that pressure on a front began or ended, and what had begun it.",
        "change",
        "reason",
    ),
    _counter(
        "vestibule_handshakes_total",
        "Handshakes finished by the client's verified reply.",
        "version",
        "suite",
        "group",
        "resumed",
    ),
    _counter(
        "vestibule_handshake_failures_total",
        "Handshakes that ended without Finished, by stage, the alert sent and our reason.",
        "stage",
        "alert",
        "reason",
        limit=512,
    ),
    _counter("vestibule_reaped_total", "Entries removed because of their age.", "store"),
    _counter("vestibule_accept_errors_total", "Failures of accept(2).", "reason"),
    _gauge(
        "vestibule_connections_open",
        "Client connections open now, by who has them: the front until it hands them over.",
        "role",
    ),
    _counter("vestibule_connections_total", "Client connections accepted.", "listener"),
)

_HANDOFF = (
    _counter("vestibule_handoffs_total", "Connections offered to workers, by result.", "result"),
    _histogram(
        "vestibule_handoff_seconds", "Time from a connection's offer to its acceptance.", _SHORT_S
    ),
    _gauge("vestibule_handoffs_waiting", "Connections that wait for a worker with credit."),
)

_SERVE = (
    _counter(
        "vestibule_tls_failures_total",
        "Established TLS connections that a record or message of the client broke.",
        "alert",
        "reason",
        limit=512,
    ),
    _counter(
        "vestibule_tcp_connections_total",
        "Connections of tcp routes that have ended, by backend and how.",
        "backend",
        "result",
        limit=1024,
    ),
)

_HTTP = (
    _counter(
        "vestibule_requests_total",
        "Requests, by backend, method and the response's status class (2xx).",
        "backend",
        "method",
        "status",
        limit=2048,
    ),
    _histogram(
        "vestibule_request_seconds",
        "Time from a request's head to the end of its response.",
        _REQUEST_S,
        "backend",
    ),
)

_UPSTREAM = (
    _counter(
        "vestibule_backend_connects_total",
        "Connection attempts to backends, by result.",
        "backend",
        "result",
        limit=1024,
    ),
    _histogram(
        "vestibule_backend_connect_seconds",
        "Time to connect to a backend, TLS included.",
        _CONNECT_S,
        "backend",
    ),
    _gauge(
        "vestibule_backend_up",
        "1 while no worker counts the server as failed, else 0.",
        "backend",
        "server",
        merge=Merge.MIN,
        limit=1024,
    ),
    _gauge("vestibule_backend_idle_connections", "Connections in the pool, unused.", "backend"),
)

_CONFIGURATION = (
    _gauge(
        "vestibule_certificate_expiry_timestamp_seconds",
        "When the first certificate of the chain expires, Unix time.",
        "listener",
        "name",
        merge=Merge.MIN,
        limit=4096,
    ),
    _gauge(
        "vestibule_configuration_generation",
        "Generation of the configuration in force; the oldest over all processes.",
        merge=Merge.MIN,
    ),
    _gauge(
        "vestibule_configuration_last_reload_timestamp_seconds",
        "When the configuration was last read, Unix time.",
        merge=Merge.MAX,
    ),
    _gauge(
        "vestibule_configuration_last_reload_successful",
        "1 when the last reload took effect, 0 when it was refused.",
        merge=Merge.MIN,
    ),
    _counter("vestibule_configuration_reloads_total", "Reloads, by result.", "result"),
)

_PROCESSES = (
    _gauge("vestibule_processes", "Processes that run.", "role"),
    _counter("vestibule_process_restarts_total", "Processes replaced after they died.", "role"),
    _counter(
        "vestibule_process_kills_total",
        "Processes killed by the supervisor. stuck: without an answer for timeouts.stuck_s; "
        "refused: unable to take the present configuration or a channel.",
        "role",
        "reason",
    ),
    _gauge(
        "vestibule_event_loop_lag_seconds",
        "Longest delay of a timer on the process' event loop in the last seconds.",
        "role",
        "slot",
        merge=Merge.MAX,
    ),
    _gauge("vestibule_event_loop_tasks", "Tasks on the process' event loop.", "role", "slot"),
    _gauge(
        "vestibule_process_resident_memory_bytes",
        "Resident memory, shared pages too.",
        "role",
        "slot",
    ),
    _counter("vestibule_process_cpu_seconds_total", "User and system CPU time.", "role", "slot"),
    _gauge("vestibule_process_open_fds", "Open file descriptors.", "role", "slot"),
    _gauge("vestibule_process_max_fds", "File descriptors it may have.", "role", "slot"),
    _counter(
        "vestibule_log_dropped_total", "Log lines lost: the log's reader is slow or gone.", "log"
    ),
    _counter("vestibule_metric_errors_total", "Metrics whose function failed at a scrape.", "name"),
    _gauge(
        "vestibule_build_info", "1, with what runs as labels.", "version", "python", merge=Merge.MAX
    ),
)

FAMILIES: tuple[Family, ...] = (
    *_FRONT,
    *_HANDOFF,
    *_SERVE,
    *_HTTP,
    *_UPSTREAM,
    *_CONFIGURATION,
    *_PROCESSES,
)

FAMILIES_BY_NAME: dict[str, Family] = {family.name: family for family in FAMILIES}
