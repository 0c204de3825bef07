"""The child's side of the control channel: turns messages into calls of its Role, and answers.

Owns the order of a child's life: started, prepared, committed, draining, gone. Rules: what
`prepare` raises is a refusal; a failing `commit` ends the process, because nobody knows what it
serves then; a failing query or attach is logged and costs only itself; EOF means that the
supervisor died, and is answered by draining and leaving.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable

import structlog

from proxy.app.control import ControlChannel
from proxy.app.messages import (
    Abandon,
    Attach,
    Commit,
    Committed,
    Drain,
    Drained,
    Lost,
    Message,
    Prepare,
    Prepared,
    Query,
    Refused,
    ReopenLogs,
    Snapshot,
    Started,
)
from proxy.app.role import Role

__all__ = ["ORPHAN_DRAIN_S", "ControlClient"]

_log = structlog.get_logger("vestibule.child")

ORPHAN_DRAIN_S = 30.0
"""Drain deadline when nobody names one: the supervisor died, or this process alone got SIGTERM.
The default of the configuration's drain deadline."""

_SPARE_DESCRIPTORS = 8
"""Kept for a hand-off channel or the next generation, whatever clients hold."""

_DRAIN_GRACE_S = 2.0
"""How far beyond its deadline a drain may run before it is cancelled."""


class ControlClient:
    """Runs one Role under the supervisor's control until it has drained."""

    def __init__(self, endpoint: socket.socket, role: Role) -> None:
        self._role = role
        self._channel = ControlChannel(
            endpoint, self._on_message, self._on_closed, spare_descriptors=_SPARE_DESCRIPTORS
        )
        self._leave: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._failed = False
        self._frozen = False

    async def run(self) -> int:
        """Serve until told to leave; drain; return the exit status."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_terminate)
        self._channel.send(Started(os.getpid()))
        deadline_s = await self._leave
        if self._failed:
            return 1
        await self._drain(deadline_s)
        self._channel.send(Snapshot(0, "metrics", self._facts("metrics")))
        self._channel.send(Drained())
        await self._channel.flushed()
        self._channel.close()
        return 0

    async def _drain(self, deadline_s: float) -> None:
        try:
            async with asyncio.timeout(deadline_s + _DRAIN_GRACE_S):
                await self._role.drain(deadline_s)
        except TimeoutError:
            _log.warning("drain_deadline_passed", deadline_s=deadline_s)
        except Exception as error:
            _log.error("drain_failed", error=repr(error))

    def _on_terminate(self) -> None:
        self._quit(ORPHAN_DRAIN_S)

    def _on_closed(self) -> None:
        _log.warning("supervisor_gone")
        self._quit(ORPHAN_DRAIN_S)

    def _quit(self, deadline_s: float) -> None:
        if not self._leave.done():
            self._leave.set_result(deadline_s)

    def _on_message(self, message: Message) -> None:
        match message:
            case Prepare():
                self._prepare(message)
            case Commit(generation):
                self._commit(generation)
            case Abandon(generation):
                self._guarded("abandon", lambda: self._role.abandon(generation))
            case Attach(peer_role, peer_slot, incarnation, descriptor):
                self._guarded(
                    "attach",
                    lambda: self._role.attach(
                        peer_role,
                        peer_slot,
                        incarnation,
                        descriptor,
                        lambda: self._channel.send(Lost(peer_slot, incarnation)),
                    ),
                )
            case Query(number, kind):
                # A large answer takes a descriptor, and there may be none.
                self._guarded(
                    "answer",
                    lambda: self._channel.send(Snapshot(number, kind, self._facts(kind))),
                )
            case Drain(deadline_s):
                self._quit(deadline_s)
            case ReopenLogs():
                self._guarded("reopen_logs", self._role.reopen_logs)
            case _:
                _log.error("unexpected_message", kind=type(message).__name__)

    def _prepare(self, message: Prepare) -> None:
        try:
            self._role.prepare(message.generation, message.snapshot, message.listeners)
        except Exception as error:
            reason = str(error) or type(error).__name__
            _log.error("generation_refused", generation=message.generation, reason=reason)
            self._channel.send(Refused(message.generation, reason[:2000]))
        else:
            self._channel.send(Prepared(message.generation))

    def _commit(self, generation: int) -> None:
        try:
            self._role.commit(generation)
        except Exception as error:
            _log.critical("commit_failed", generation=generation, error=repr(error), exc_info=True)
            self._failed = True
            self._quit(0.0)
            return
        if not self._frozen:
            # Modules, certificates and tables stay for the process's life: keep the collector
            # from walking them again and again.
            gc.collect()
            gc.freeze()
            # Again: a full collection waits until a quarter of what the last one left has been
            # added, and that is to be a quarter of nothing, not of all these modules.
            gc.collect()
            self._frozen = True
        self._channel.send(Committed(generation))

    def _facts(self, kind: str) -> dict[str, object]:
        if kind == "alive":
            return {}
        try:
            return self._role.status() if kind == "status" else self._role.metrics()
        except Exception as error:
            _log.error("query_failed", kind=kind, error=repr(error))
            return {}

    def _guarded(self, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            _log.error("control_call_failed", call=what, error=repr(error))
