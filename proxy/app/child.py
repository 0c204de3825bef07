"""The bootstrap of a child process: `python -m proxy.app.child front|worker SLOT --control-fd N`.

Owns what a process does to itself before its role runs. Rules: started by exec with the control
socket as its only descriptor beside standard input, output and error; Ctrl-C is the supervisor's
business; SIGTERM drains this child alone; nothing secret arrives by argv or environment.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

import structlog
import uvloop

from proxy.app.client import ControlClient
from proxy.app.hardening import harden
from proxy.app.role import FRONT, WORKER, Role, RoleFactory

__all__ = ["main"]


def _front(slot: int) -> Role:
    # Imported when wanted: a front does not carry the HTTP layer, a worker not the acceptor.
    role: Role = importlib.import_module("proxy.app.front_role").FrontRole(slot)
    return role


def _worker(slot: int) -> Role:
    role: Role = importlib.import_module("proxy.app.worker_role").WorkerRole(slot)
    return role


_ROLES: Mapping[str, RoleFactory] = {FRONT: _front, WORKER: _worker}


def main(arguments: Sequence[str] | None = None, roles: Mapping[str, RoleFactory] = _ROLES) -> int:
    """Run one child until it has drained; returns its exit status."""
    # SIGHUP and SIGUSR1 would kill by default; both mean something to the supervisor only.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    _log_to_stderr()
    harden()
    parser = argparse.ArgumentParser(prog="vestibule-child", description="Started by vestibule.")
    parser.add_argument("role", choices=sorted(roles))
    parser.add_argument("slot", type=int)
    parser.add_argument("--control-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    endpoint = socket.socket(fileno=options.control_fd)
    endpoint.set_inheritable(False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(endpoint, roles[options.role], options.slot))


def _log_to_stderr() -> None:
    """Until the role knows where its log is. By default structlog would show locals: keys."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


async def _serve(endpoint: socket.socket, factory: RoleFactory, slot: int) -> int:
    return await ControlClient(endpoint, factory(slot)).run()


if __name__ == "__main__":
    sys.exit(main())
