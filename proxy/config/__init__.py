"""Configuration: a YAML file becomes immutable settings, checked as a whole, for every role."""

from proxy.config.configuration import (
    AdminSettings,
    Configuration,
    NameSettings,
    ProcessSettings,
    RouteSettings,
    SystemUser,
)
from proxy.config.describe import CheckReport, check, describe
from proxy.config.errors import Caution, ConfigError, Problem
from proxy.config.load import load
from proxy.config.schema import schema
from proxy.config.snapshot import (
    FrontSnapshot,
    RetryListener,
    SnapshotError,
    WorkerSnapshot,
    front_snapshot,
    read_front_snapshot,
    read_worker_snapshot,
    worker_snapshot,
)

__all__ = [
    "AdminSettings",
    "Caution",
    "CheckReport",
    "ConfigError",
    "Configuration",
    "FrontSnapshot",
    "NameSettings",
    "Problem",
    "ProcessSettings",
    "RetryListener",
    "RouteSettings",
    "SnapshotError",
    "SystemUser",
    "WorkerSnapshot",
    "check",
    "describe",
    "front_snapshot",
    "load",
    "read_front_snapshot",
    "read_worker_snapshot",
    "schema",
    "worker_snapshot",
]
