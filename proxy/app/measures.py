"""The supervisor's numbers, and the sum of everybody's.

Owns the aggregate over all processes. Rules: a child's last snapshot counts until it is
gone and its totals for ever after; a snapshot that does not fit is logged and costs only itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from proxy.app.children import Child
from proxy.app.role import ROLES
from proxy.app.status import Reload
from proxy.telemetry import Aggregate, Metrics, SnapshotError

__all__ = ["Measures"]

_RESULTS = {True: "success", False: "failure"}
_KILLED_FOR = ("stuck", "refused")

_log = structlog.get_logger("vestibule.supervisor")


class Measures:
    """Metrics of the whole proxy."""

    def __init__(
        self, local: Metrics, generation: Callable[[], int], running: Callable[[str], int]
    ) -> None:
        self._local = local
        self._aggregate = Aggregate(local)
        local.gauge_function("vestibule_configuration_generation", generation)
        for role in ROLES:
            local.gauge_function("vestibule_processes", partial(running, role), role)
            local.counter("vestibule_process_restarts_total", role)
            for reason in _KILLED_FOR:
                local.counter("vestibule_process_kills_total", role, reason)
        for result in _RESULTS.values():
            local.counter("vestibule_configuration_reloads_total", result)
        local.gauge("vestibule_configuration_last_reload_successful").value = 1
        local.gauge("vestibule_configuration_last_reload_timestamp_seconds").value = time.time()

    def update(self, child: Child, snapshot: dict[str, Any]) -> None:
        """Take a child's newest numbers."""
        try:
            self._aggregate.update(_name(child), snapshot)
        except SnapshotError as error:
            _log.error("metrics_refused", child=child.name, error=str(error))

    def retire(self, child: Child, *, died: bool) -> None:
        """A child is gone: keep its totals."""
        self.update(child, child.metrics)
        self._aggregate.retire(_name(child))
        if died:
            self._local.counter("vestibule_process_restarts_total", child.role).value += 1
        if child.killed_for:
            kills = "vestibule_process_kills_total"
            self._local.counter(kills, child.role, child.killed_for).value += 1

    def reloaded(self, reload: Reload) -> None:
        """A reload was committed or has failed."""
        local = self._local
        local.counter("vestibule_configuration_reloads_total", _RESULTS[reload.success]).value += 1
        local.gauge("vestibule_configuration_last_reload_successful").value = float(reload.success)
        if reload.success and reload.at_s is not None:
            local.gauge("vestibule_configuration_last_reload_timestamp_seconds").value = reload.at_s

    def exposition(self) -> bytes:
        """The text a scrape is answered with."""
        return self._aggregate.exposition()


def _name(child: Child) -> str:
    return f"{child.role}-{child.slot}-{child.incarnation}"
