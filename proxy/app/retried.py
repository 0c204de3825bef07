"""Clients whose front is keyless, as a worker has them: their listeners, tables and bounds.

Owns who answers them under which generation. Rules: a client is answered by the generation that its
front answered it by, or denied; until it has replied it is a half-open handshake and nothing more;
those who have replied come first, so half-open clients get what these leave of the descriptors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import structlog

from proxy.config import RetryListener
from proxy.front import (
    Answerer,
    CookieKeys,
    FrontMetrics,
    HandshakeTable,
    Origin,
    Pressure,
    PressureSettings,
    Signing,
    Sources,
    SourceSettings,
)
from proxy.handoff import Capsule, DenialReason, close_all
from proxy.telemetry import Metrics
from proxy.tls import Established, Policy, Retried, SystemEntropy, TlsContext

__all__ = ["RetriedClients"]

_log = structlog.get_logger("vestibule.worker")


class _Listener(NamedTuple):
    """A listener under one generation."""

    number: int
    answerer: Answerer


class RetriedClients:
    """Half-open clients of one worker. ``serve`` is given each that has replied: its descriptor,
    its connection and its generation."""

    def __init__(
        self,
        serve: Callable[[int, Established, int], None],
        metrics: Metrics,
        room: Callable[[], int],
    ) -> None:
        """``room``: how many there may be at the moment, whatever the tables' limits."""
        self._serve = serve
        self._room = room
        self._sources = Sources(SourceSettings())
        self._signing = Signing(self._deliver, FrontMetrics(metrics), self._sources)
        self._entropy = SystemEntropy()
        # What only a front uses of an answerer: no cookie is made or redeemed here.
        now = time.monotonic()
        self._cookie_keys = CookieKeys(self._entropy.random, now)
        self._pressure = Pressure(PressureSettings(), now)
        self._tables: dict[str, HandshakeTable] = {}
        self._listeners: dict[int, dict[int, _Listener]] = {}
        self._register_gauges(metrics)

    def __len__(self) -> int:
        """Clients that are here: those who wait for our flight, and those whose reply we await."""
        return len(self._signing)

    @property
    def half_open(self) -> int:
        """Handshakes that have been answered."""
        return sum(len(table) for table in self._tables.values())

    def commit(
        self,
        generation: int,
        listeners: Sequence[RetryListener],
        policies: Mapping[int, Policy],
        sources: SourceSettings,
    ) -> None:
        """Take clients of this generation too; its limits hold from now on."""
        self._sources.configure(sources)
        names = {one.listener.name for one in listeners}
        # Of a listener that is gone a table stays for as long as somebody is in it.
        self._tables = {
            name: table for name, table in self._tables.items() if name in names or len(table)
        }
        found = self._listeners[generation] = {}
        for one in listeners:
            settings = one.listener
            table = self._tables.setdefault(settings.name, HandshakeTable(settings.half_open_limit))
            table.limit = settings.half_open_limit
            answerer = Answerer(
                settings,
                policies[one.index],
                table,
                self._cookie_keys,
                self._entropy,
                self._pressure,
                generation=generation,
                number=one.index,
            )
            found[one.index] = _Listener(self._signing.enrol(answerer), answerer)

    def forget(self, generation: int) -> None:
        """Nobody refers to this generation any more."""
        for listener in self._listeners.pop(generation, {}).values():
            self._signing.dismiss(listener.number)

    def denial(self, capsule: Capsule) -> DenialReason | None:
        """Why this client cannot be taken, if it cannot."""
        listener = self._listeners[capsule.generation].get(capsule.listener)
        if listener is None:
            return DenialReason.UNREADABLE
        if len(self) >= self._room() or self._signing.full(listener.answerer):
            return DenialReason.OVERLOADED
        return None

    def take(self, descriptor: int, capsule: Capsule, context: Retried) -> None:
        """Answer this client in its turn, and wait for its reply."""
        listener = self._listeners[capsule.generation][capsule.listener]
        self._signing.sign(descriptor, listener.number, context, capsule.remaining_s)

    async def drained(self, timeout_s: float) -> None:
        """Wait until nobody is left here, at most so long."""
        await self._signing.drained(timeout_s)

    def close(self) -> None:
        """Close everybody who is left."""
        self._signing.close()

    def _deliver(
        self, descriptor: int, context: TlsContext, origin: Origin, remaining_s: float, now: float
    ) -> None:
        self._signing.release(descriptor)
        try:
            if not isinstance(context, Established):
                raise TypeError("a handshake that has not finished")
            self._serve(descriptor, context, origin.answerer.generation)
        except Exception:
            _log.exception("connection_not_served")
            close_all((descriptor,))

    def _register_gauges(self, metrics: Metrics) -> None:
        gauge = metrics.gauge_function
        gauge("vestibule_handshakes_half_open", lambda: self.half_open)
        gauge(
            "vestibule_handshakes_half_open_limit",
            lambda: sum(table.limit for table in self._tables.values()),
        )
        gauge(
            "vestibule_handshakes_half_open_bytes",
            lambda: sum(table.size_bytes for table in self._tables.values()),
        )
        gauge(
            "vestibule_handshakes_half_open_oldest_age_seconds",
            self._signing.handshakes.oldest_age_s,
        )
