"""The front: listening sockets, half-open clients and offers to workers on one event loop.

One per process. It only wires the three: a turn serves the clients that are here, sends the offers
that came of it, and accepts new clients last, so that a number is never reused while an event for
it waits. How long a turn keeps others waiting is what `Pressure` judges by.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from proxy.front.acceptor import Acceptor
from proxy.front.handshakes import Handshakes
from proxy.front.metrics import FrontMetrics
from proxy.front.offers import Offers
from proxy.front.pressure import Pressure
from proxy.front.sources import Sources
from proxy.handoff import Dispatcher, Source

__all__ = ["Front"]

_log = structlog.get_logger("vestibule.front")

_LOOK_S: Final = 0.05
"""Between two looks at what nobody's event brings about: pressure that ends, time that is over."""


class Front:
    """All of one front process's clients until somebody else owns them."""

    def __init__(
        self, dispatcher: Dispatcher, metrics: FrontMetrics, pressure: Pressure, sources: Sources
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._metrics = metrics
        self.pressure = pressure
        """Whether adaptive listeners answer by retry."""
        self._offers = Offers(dispatcher, self._released)
        self.handshakes = Handshakes(self._offers.offer, metrics, pressure, sources)
        """The clients."""
        self.acceptor = Acceptor(self.handshakes, metrics)
        """The listening sockets."""
        self._empty: asyncio.Event | None = None
        self._loop.add_reader(self.handshakes.epoll.fileno(), self._turn)
        self._timer = self._loop.call_later(_LOOK_S, self._look)

    def attach(self, source: Source, lost: Callable[[], None] = lambda: None) -> None:
        """Offer to this worker as well, until `lost` is called: its channel has ended."""
        self._offers.attach(source, lost)

    def _turn(self) -> None:
        # In CPU time, because that others have the machine is no pressure of hellos.
        began_s = time.thread_time()
        now = time.monotonic()
        listening = self.handshakes.turn(now)
        self._offers.flush(now)
        if listening:
            self.acceptor.ready(listening, time.monotonic())
        ended_s = time.thread_time()
        self.pressure.lagged(max(ended_s - began_s, self.acceptor.behind_s(ended_s)))
        self._judge(time.monotonic())

    def _judge(self, now: float) -> None:
        pressure = self.pressure
        if pressure.look(self.handshakes.clients.half_open, now):
            self._metrics.pressure(pressure.active, pressure.reason)
            event = "pressure_began" if pressure.active else "pressure_ended"
            _log.warning(event, reason=pressure.reason)
        if self._empty is not None and not len(self.handshakes):
            self._empty.set()

    def _look(self) -> None:
        now = time.monotonic()
        self._timer = self._loop.call_later(_LOOK_S, self._look)
        self.handshakes.expire(now)
        self._offers.expire(now)
        self._judge(now)

    def _released(self, descriptor: int) -> None:
        self.handshakes.release(descriptor)

    async def drained(self, timeout_s: float) -> None:
        """Wait until no client is in our hands any more, at most so long."""
        if not len(self.handshakes):
            return
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Close everything that is still here."""
        self._offers.close()
        self.acceptor.close()
        self._timer.cancel()
        self._loop.remove_reader(self.handshakes.epoll.fileno())
        self.handshakes.close()
