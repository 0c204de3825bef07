"""Runs the supervisor for a configuration file: the place where configuration, logs and processes
meet.

Rules: the first load decides whether we start at all; later loads are reloads, whose failure is an
event and never the end. Logs are set up once: a reload that changes them says that it did not.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import structlog

from proxy import __version__
from proxy.app.desired import AdminAddresses, Desired
from proxy.app.failures import LoadFailed
from proxy.app.hardening import harden
from proxy.app.listeners import ListenAddress
from proxy.app.role import FRONT, WORKER
from proxy.app.supervisor import Supervisor
from proxy.config import ConfigError, Configuration, front_snapshot, load, worker_snapshot
from proxy.telemetry import Logs, LoopLag, Metrics, measure_process

__all__ = ["desired_of", "run"]

_log = structlog.get_logger("vestibule.supervisor")

_ROLE = "supervisor"


def run(path: Path, on_running: Callable[[], None] = lambda: None) -> int:
    """Serve what a configuration file says until SIGTERM; returns the exit status.

    `on_running` is called once, when clients are served. Raises LoadFailed, BindError, Refusal
    when it cannot start.
    """
    harden()
    configuration = _load(path)
    metrics = Metrics()
    try:
        logs = Logs(configuration.logging, metrics, role=_ROLE)
    except OSError as error:
        raise LoadFailed(f"cannot open the log: {error}") from error
    try:
        return asyncio.run(_run(path, configuration, metrics, logs, on_running))
    finally:
        # The loop's handlers are gone: an impatient Ctrl-C now must not end in a traceback, nor
        # change the status of a run that has ended well.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        logs.close()


async def _run(
    path: Path,
    configuration: Configuration,
    metrics: Metrics,
    logs: Logs,
    on_running: Callable[[], None],
) -> int:
    measure_process(metrics, _ROLE, 0, __version__)
    lag = LoopLag(metrics, _ROLE, 0)

    def again() -> Desired:
        changed = _load(path)
        _tell_cautions(changed)
        if changed.logging != configuration.logging:
            _log.warning("logging_unchanged", reason="its changes take effect at the next start")
        return desired_of(changed)

    _tell_cautions(configuration)
    supervisor = Supervisor(again, metrics=metrics, on_running=on_running, reopen_logs=logs.reopen)
    try:
        return await supervisor.run(desired_of(configuration))
    finally:
        lag.stop()


def _load(path: Path) -> Configuration:
    try:
        return load(path)
    except ConfigError as error:
        raise LoadFailed(str(error)) from error


def _tell_cautions(configuration: Configuration) -> None:
    for caution in configuration.cautions:
        _log.warning("configuration_caution", caution=str(caution))


def desired_of(configuration: Configuration) -> Desired:
    """The process side of a configuration."""
    admin, processes = configuration.admin, configuration.processes
    return Desired(
        addresses=tuple(
            ListenAddress(listener.name, address, listener.dual_stack, listener.backlog)
            for listener in configuration.front.listeners
            for address in listener.bind
        ),
        processes={FRONT: processes.fronts, WORKER: processes.workers},
        drain_s=processes.drain_timeout_s,
        admin=AdminAddresses(
            listen=admin.listen, socket=None if admin.socket is None else Path(admin.socket)
        ),
        snapshots={
            FRONT: front_snapshot(configuration),
            WORKER: worker_snapshot(configuration),
        },
    )
