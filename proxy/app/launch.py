"""Runs the supervisor for a configuration file: the place where configuration, logs and processes
meet.

Rules: the first load decides whether we start at all; later loads are reloads, whose failure is an
event and never the end. Logs are set up once: a reload that changes them says that it did not. So
is the user of keyless fronts: a reload that changes it is refused, because a process that is there
already has been given what the new configuration may deny it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import structlog

from proxy import __version__
from proxy.app.desired import AdminAddresses, Desired
from proxy.app.failures import LoadFailed, Refusal
from proxy.app.hardening import harden
from proxy.app.listeners import ListenAddress
from proxy.app.role import FRONT, WORKER
from proxy.app.supervisor import Supervisor
from proxy.config import (
    ConfigError,
    Configuration,
    SystemUser,
    front_snapshot,
    load,
    worker_snapshot,
)
from proxy.telemetry import Logs, LoopLag, Metrics, measure_process

__all__ = ["desired_of", "run", "users_of"]

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
        _refuse_another_user(changed, configuration)
        _tell_cautions(changed)
        if changed.logging != configuration.logging:
            _log.warning("logging_unchanged", reason="its changes take effect at the next start")
        return desired_of(changed)

    _tell_cautions(configuration)
    try:
        supervisor = Supervisor(
            again,
            users=users_of(configuration),
            metrics=metrics,
            on_running=on_running,
            reopen_logs=logs.reopen,
        )
        return await supervisor.run(desired_of(configuration))
    finally:
        lag.stop()


def _load(path: Path) -> Configuration:
    try:
        return load(path)
    except ConfigError as error:
        raise LoadFailed(str(error)) from error


def _refuse_another_user(changed: Configuration, configuration: Configuration) -> None:
    wanted, present = changed.processes.keyless_user, configuration.processes.keyless_user
    if wanted != present:
        names = ["null" if one is None else one.name for one in (present, wanted)]
        raise LoadFailed(
            f"processes.keyless_user has changed from {names[0]} to {names[1]}: this takes a"
            " restart, because fronts that run keep their user and what they were given"
        )


def _tell_cautions(configuration: Configuration) -> None:
    for caution in configuration.cautions:
        _log.warning("configuration_caution", caution=str(caution))


def users_of(configuration: Configuration) -> dict[str, SystemUser]:
    """Whom children of a role run as where that is not who we are. Raises Refusal."""
    user = configuration.processes.keyless_user
    if user is None:
        return {}
    if os.geteuid() != 0:
        # Whoever only had the capability would leave its other ones with the process it starts.
        raise Refusal(
            f"processes.keyless_user is {user.name}: only root can start processes as another user"
        )
    return {FRONT: user}


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
        stuck_s=processes.stuck_timeout_s,
        admin=AdminAddresses(
            listen=admin.listen, socket=None if admin.socket is None else Path(admin.socket)
        ),
        snapshots={
            FRONT: front_snapshot(configuration),
            WORKER: worker_snapshot(configuration),
        },
    )
