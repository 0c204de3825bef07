"""The front process's role: a configuration generation becomes answerers and listening sockets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from proxy.app.expiry import show_expiry
from proxy.app.messages import ListenerSocket
from proxy.app.telemetry import ProcessTelemetry
from proxy.config import FrontSnapshot, read_front_snapshot
from proxy.front import (
    Answerer,
    AnswerPolicy,
    CookieKeys,
    FiveTuples,
    Front,
    FrontMetrics,
    HandshakeTable,
    ListenerSettings,
    Loaded,
    Origin,
    Pressure,
    PressureSettings,
    Sources,
    SourceSettings,
    build_policy,
)
from proxy.handoff import (
    ChannelSettings,
    Dispatcher,
    DispatcherSettings,
    Source,
    close_all,
)
from proxy.tls import Policy, SystemEntropy

__all__ = ["FrontRole"]

_log = structlog.get_logger("vestibule.front")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A generation that could serve."""

    snapshot: FrontSnapshot
    policies: dict[str, Policy]
    sockets: tuple[ListenerSocket, ...]


class FrontRole:
    """One front process."""

    def __init__(self, slot: int) -> None:
        self._telemetry = ProcessTelemetry("front", slot)
        self._metrics = self._telemetry.metrics
        self._dispatcher = Dispatcher(DispatcherSettings(), self._metrics)
        self._pressure = Pressure(PressureSettings(), time.monotonic())
        self._sources = Sources(SourceSettings())
        self._front = Front(
            self._dispatcher, FrontMetrics(self._metrics), self._pressure, self._sources
        )
        self._entropy = SystemEntropy()
        self._cookie_keys = CookieKeys(self._entropy.random, time.monotonic())
        self._tables: dict[str, HandshakeTable] = {}
        self._prepared: dict[int, _Prepared] = {}
        self._generation = 0
        self._serving: dict[int, socket.socket] = {}
        self._register_gauges()

    def prepare(
        self, generation: int, snapshot: bytes, listeners: Sequence[ListenerSocket]
    ) -> None:
        """Load certificates and keys; what serves is not touched. Raises what refuses it."""
        try:
            loaded = read_front_snapshot(snapshot)
            self._telemetry.check(loaded.logging)
            credentials: Loaded = {}
            policies = {
                settings.name: build_policy(settings, credentials)
                for settings in loaded.front.listeners
            }
        except BaseException:
            # A copy that stayed open would keep its address taken, and clients in its queue.
            close_all(item.descriptor for item in listeners)
            raise
        self._prepared[generation] = _Prepared(loaded, policies, tuple(listeners))

    def commit(self, generation: int) -> None:
        """Answer by this generation from the next hello on."""
        prepared = self._prepared.pop(generation)
        for other in list(self._prepared):
            self.abandon(other)
        self._telemetry.configure(prepared.snapshot.logging)
        self._generation = generation
        self._dispatcher.settings = replace(
            self._dispatcher.settings,
            waiting_timeout_s=prepared.snapshot.front.handoff_timeout_s,
        )
        self._pressure.settings = prepared.snapshot.front.pressure
        self._sources.configure(prepared.snapshot.front.sources)
        show_expiry(self._metrics, prepared.snapshot.front.listeners)
        listeners = prepared.snapshot.front.listeners
        settings = {one.name: one for one in listeners}
        answerers = {
            one.name: self._answerer(one, prepared.policies[one.name], number)
            for number, one in enumerate(listeners)
        }
        # Of a listener that is gone a table stays for as long as somebody is in it.
        self._tables = {
            name: table for name, table in self._tables.items() if name in settings or len(table)
        }
        former, self._serving = self._serving, {}
        for item in prepared.sockets:
            # The socket itself tells whether it is served already: its descriptor is a new one,
            # and the same address can come with another socket (dual_stack, another backlog).
            inode = os.fstat(item.descriptor).st_ino
            known = former.pop(inode, None)
            self._serving[inode] = self._listen(
                item, known, settings[item.name], answerers[item.name]
            )
        for removed in former.values():
            self._front.acceptor.unlisten(removed.fileno())

    def abandon(self, generation: int) -> None:
        """Forget a generation that is not to serve."""
        prepared = self._prepared.pop(generation, None)
        if prepared is not None:
            for item in prepared.sockets:
                os.close(item.descriptor)

    def attach(
        self,
        peer_role: str,
        peer_slot: int,
        incarnation: int,
        descriptor: int,
        lost: Callable[[], None],
    ) -> None:
        """Offer to this worker; its earlier incarnation's channel ends by itself."""
        source = Source(socket.socket(fileno=descriptor), ChannelSettings())
        self._front.attach(source, lost)

    def metrics(self) -> dict[str, Any]:
        """The registry's snapshot."""
        return self._metrics.snapshot()

    def status(self) -> dict[str, Any]:
        """Counts for people."""
        return {
            "generation": self._generation,
            "half_open": self._half_open(),
            "connections": len(self._front.handshakes),
        }

    async def drain(self, deadline_s: float) -> None:
        """Take what is queued, close the listeners, and wait for the last handshake."""
        for item in self._serving.values():
            self._front.acceptor.unlisten(item.fileno())
        self._serving.clear()
        await self._front.drained(deadline_s)
        self._front.close()
        self._telemetry.close()

    def reopen_logs(self) -> None:
        """Open log files again by name."""
        self._telemetry.reopen()

    def _answerer(self, settings: ListenerSettings, policy: Policy, number: int) -> Answerer:
        if settings.answer is AnswerPolicy.RETRY:
            # Nothing is kept here: the workers' tables are those with a limit. What a former
            # generation has here goes on under its own.
            table = HandshakeTable(0)
        else:
            table = self._tables.setdefault(settings.name, HandshakeTable(settings.half_open_limit))
            table.limit = settings.half_open_limit
        return Answerer(
            settings,
            policy,
            table,
            self._cookie_keys,
            self._entropy,
            self._pressure,
            generation=self._generation,
            number=number,
        )

    def _listen(
        self,
        item: ListenerSocket,
        known: socket.socket | None,
        settings: ListenerSettings,
        answerer: Answerer,
    ) -> socket.socket:
        if known is not None:
            os.close(item.descriptor)
        listener = socket.socket(fileno=item.descriptor) if known is None else known
        address = next(one for one in settings.bind if str(one) == item.bind)
        five_tuples = FiveTuples(address.family, listener)
        self._front.acceptor.listen(listener, Origin(five_tuples, answerer))
        return listener

    def _half_open(self) -> int:
        return sum(len(table) for table in self._tables.values())

    def _register_gauges(self) -> None:
        gauge = self._metrics.gauge_function
        gauge("vestibule_handshakes_half_open", self._half_open)
        gauge(
            "vestibule_handshakes_half_open_limit",
            lambda: sum(table.limit for table in self._tables.values()),
        )
        gauge(
            "vestibule_handshakes_half_open_bytes",
            lambda: sum(table.size_bytes for table in self._tables.values()),
        )
        gauge(
            "vestibule_handshakes_half_open_oldest_age_seconds", self._front.handshakes.oldest_age_s
        )
        gauge("vestibule_connections_open", lambda: len(self._front.handshakes), "front")
        gauge("vestibule_pressure_active", lambda: int(self._pressure.active))
        gauge("vestibule_configuration_generation", lambda: self._generation)
