"""Metrics and logs.

Owns what a process counts (Metrics, by the table FAMILIES), the sum over all processes
(Aggregate), and the way lines take to a file without the loop waiting (Logs, AccessLog). Rules:
nothing here blocks or raises on a hot path; label sets, queues and lines are bounded, whatever
peers send; no secret and no local variable is ever printed.
"""

from proxy.telemetry.access import AccessLog, AccessRecord, TlsFacts
from proxy.telemetry.aggregate import Aggregate, SnapshotError
from proxy.telemetry.families import FAMILIES, Family, Kind, Merge
from proxy.telemetry.logs import Logs
from proxy.telemetry.metrics import Counter, Gauge, Histogram, Metrics, Snapshot
from proxy.telemetry.process import LoopLag, measure_process
from proxy.telemetry.settings import LoggingSettings
from proxy.telemetry.writer import LineWriter

__all__ = [
    "FAMILIES",
    "AccessLog",
    "AccessRecord",
    "Aggregate",
    "Counter",
    "Family",
    "Gauge",
    "Histogram",
    "Kind",
    "LineWriter",
    "LoggingSettings",
    "Logs",
    "LoopLag",
    "Merge",
    "Metrics",
    "Snapshot",
    "SnapshotError",
    "TlsFacts",
    "measure_process",
]
