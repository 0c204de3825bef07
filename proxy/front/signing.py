"""The worker's side of a keyless front: it signs for clients that redeemed a cookie there.

Until such a client has replied it is here, in a table like a front's and never as a transport.
Rules: clients are answered in the order in which they came, a slice of time per loop turn, so that
established connections go on; who does not get its turn in time is dropped like any silent client;
a table that is full, those who wait for their answer included, takes no more.
"""

import asyncio
import os
import time
from collections import deque
from typing import Final, NamedTuple

from proxy.front.answerer import Answerer, Stage
from proxy.front.five_tuple import SocketTuples
from proxy.front.handshakes import Deliver, Handshakes
from proxy.front.metrics import FrontMetrics
from proxy.front.origin import Origin
from proxy.front.pressure import Pressure
from proxy.front.settings import PressureSettings
from proxy.front.sources import Sources
from proxy.tls import Retried

__all__ = ["Signing"]

# A signature by ECDSA takes 0.03 ms and by RSA-2048 0.7 ms, with its flight 0.1 and 0.8.
_SIGNING_PER_TURN_S: Final = 0.001
# A second's work with RSA-2048: who comes behind it had better go to another worker.
_WAITING_MAX: Final = 1024
_LOOK_S: Final = 0.25


class _Waiting(NamedTuple):
    descriptor: int
    number: int
    context: Retried
    expires_s: float


class Signing:
    """Half-open clients of a worker. ``deliver`` is given each that has replied.

    The descriptor is lent to it until ``release``, as in a front.
    """

    def __init__(self, deliver: Deliver, metrics: FrontMetrics, sources: Sources) -> None:
        self._loop = asyncio.get_running_loop()
        self._metrics = metrics
        now = time.monotonic()
        # No listener here is adaptive.
        pressure = Pressure(PressureSettings(), now)
        self.handshakes = Handshakes(deliver, metrics, pressure, sources, shared=True)
        """The clients that have been answered."""
        self._waiting: deque[_Waiting] = deque()
        self._empty: asyncio.Event | None = None
        self._loop.add_reader(self.handshakes.epoll.fileno(), self._turn)
        self._timer = self._loop.call_later(_LOOK_S, self._look)

    def __len__(self) -> int:
        """Clients that are here, lent ones included."""
        return len(self._waiting) + len(self.handshakes)

    def enrol(self, answerer: Answerer) -> int:
        """Answer clients by this from now on; the number that ``sign`` wants."""
        return self.handshakes.clients.enrol(Origin(SocketTuples(), answerer))

    def dismiss(self, number: int) -> None:
        """No more clients come with this number; those that are here keep it."""
        self.handshakes.clients.dismiss(number)

    def full(self, answerer: Answerer) -> bool:
        """Whether there is no room for another client of this listener."""
        waiting = len(self._waiting)
        return waiting >= _WAITING_MAX or len(answerer.table) + waiting >= answerer.table.limit

    def sign(self, descriptor: int, number: int, context: Retried, remaining_s: float) -> None:
        """Answer this client in its turn. The descriptor is ours from now on."""
        if not self._waiting:
            self._loop.call_soon(self._serve)
        # The origin outlives its dismissal for as long as somebody from there is here.
        self.handshakes.clients.hold(number)
        expires_s = time.monotonic() + remaining_s
        self._waiting.append(_Waiting(descriptor, number, context, expires_s))

    def release(self, descriptor: int) -> None:
        """The loan of a delivered descriptor is over."""
        self.handshakes.release(descriptor)
        self._note_empty()

    async def drained(self, timeout_s: float) -> None:
        """Wait until no client is here any more, at most so long."""
        if not len(self):
            return
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Close everything that is still here."""
        self._timer.cancel()
        for one in self._waiting:
            os.close(one.descriptor)
        self._waiting.clear()
        self._loop.remove_reader(self.handshakes.epoll.fileno())
        self.handshakes.close()

    def _serve(self) -> None:
        latest = time.monotonic() + _SIGNING_PER_TURN_S
        try:
            while self._waiting:
                self._serve_one(self._waiting.popleft())
                if time.monotonic() > latest:
                    break
        finally:
            if self._waiting:
                # What else is ready comes first: the next slice is of the next turn.
                self._loop.call_soon(self._serve)
        self._note_empty()

    def _serve_one(self, one: _Waiting) -> None:
        now = time.monotonic()
        remaining_s = one.expires_s - now
        try:
            if remaining_s > 0:
                self.handshakes.resume(one.descriptor, one.number, one.context, remaining_s, now)
            else:
                self._metrics.reaped(Stage.SIGNATURE)
                os.close(one.descriptor)
        finally:
            self.handshakes.clients.dismiss(one.number)

    def _turn(self) -> None:
        self.handshakes.turn(time.monotonic())
        self._note_empty()

    def _look(self) -> None:
        self._timer = self._loop.call_later(_LOOK_S, self._look)
        self.handshakes.expire(time.monotonic())
        self._note_empty()

    def _note_empty(self) -> None:
        if self._empty is not None and not len(self):
            self._empty.set()
