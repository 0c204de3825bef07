"""All half-open clients of one process: reads, answers, waits, and gives away who has replied.

Clients are bare non-blocking descriptors in one epoll instance, whose own descriptor sits on the
asyncio loop of the owner: one wake-up drains a batch of events. Rules: each event is guarded, so
that one client's failure costs that client alone; replies are served before second hellos and those
before first ones; a descriptor leaves the epoll before it is lent to anybody (one that is closed
leaves by itself, as nobody else holds it); what ends by silence ends by the wheel.
"""

import os
import select
import time
from collections.abc import Callable
from typing import Final

import structlog

from proxy.front.answerer import Stage
from proxy.front.clients import Clients
from proxy.front.endings import Endings
from proxy.front.metrics import FrontMetrics, errno_label
from proxy.front.origin import Origin
from proxy.front.outgoing import Outgoing
from proxy.front.pressure import Pressure
from proxy.front.sources import Sources
from proxy.front.wheel import DeadlineWheel
from proxy.tls import (
    EARLY_DATA_LIMIT,
    Established,
    HelloReader,
    Retried,
    TlsContext,
    TlsError,
    WholeHello,
    read_hello,
)

__all__ = ["Deliver", "Handshakes"]

_log = structlog.get_logger("vestibule.front")

Deliver = Callable[[int, TlsContext, Origin, float, float], None]
"""Takes a descriptor that is lent, its context, its origin, the seconds that its handshake may
still take, and the time. ``release`` ends the loan."""

_EVENTS_PER_TURN: Final = 256
# What a turn's second hellos may take, and its first ones, before replies are looked at again; the
# rest come up again. Each kind has time of its own: a flood of cookies that come back would else
# keep away, for seconds, whose first hello came after they were accepted.
_HELLOS_PER_TURN_S: Final = 0.002
# One full record; what lies behind it stays in the kernel for whoever owns the connection then.
_READ_SIZE: Final = 16 * 1024 + 512
_WHEEL_TICK_S: Final = 0.25
_WHEEL_HORIZON_S: Final = 610.0  # the largest configurable time-out, 10 minutes

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_GONE: Final = select.EPOLLERR | select.EPOLLHUP
_FREE: Final = int(Stage.FREE)
_HELLO: Final = int(Stage.HELLO)
_SECOND_HELLO: Final = int(Stage.SECOND_HELLO)
_REPLY: Final = int(Stage.REPLY)
_LINGER: Final = int(Stage.LINGER)


class Handshakes:
    """``deliver`` is given each client that has replied, or redeemed its cookie.

    ``shared``: other processes may have copies of the clients' descriptors.
    """

    def __init__(
        self,
        deliver: Deliver,
        metrics: FrontMetrics,
        pressure: Pressure,
        sources: Sources,
        *,
        shared: bool = False,
    ) -> None:
        self._deliver = deliver
        self._metrics = metrics
        self._pressure = pressure
        self._sources = sources
        self.epoll = select.epoll()
        """Listening sockets are watched here too: see ``turn``."""
        self.clients = Clients()
        """State by descriptor."""
        self._wheel = DeadlineWheel(_WHEEL_HORIZON_S, _WHEEL_TICK_S, time.monotonic())
        self.outgoing = Outgoing(self.epoll)
        """What they are being sent."""
        self._endings = Endings(
            self.epoll, self.clients, self.outgoing, self._wheel, sources, pressure, metrics, shared
        )

    def __len__(self) -> int:
        return len(self.clients)

    # --- one turn ------------------------------------------------------------------------

    def turn(self, now: float) -> list[int]:
        """Serve a batch of events; returns the ready descriptors that are no clients."""
        others: list[int] = []
        first: list[int] = []
        second: list[int] = []
        stage_of, guarded = self.clients.stage, self._guarded
        for descriptor, mask in self.epoll.poll(0, _EVENTS_PER_TURN):
            stage = stage_of(descriptor)
            if stage == _FREE:
                others.append(descriptor)
            elif mask & _GONE:
                guarded(self._gone, descriptor, now)
            elif mask & _OUT and not guarded(self._flush, descriptor, now):
                continue
            elif stage == _REPLY:
                guarded(self._readable, descriptor, now)
            elif stage == _SECOND_HELLO:
                second.append(descriptor)
            else:
                first.append(descriptor)
        for hellos in filter(None, (second, first)):
            latest = time.monotonic() + _HELLOS_PER_TURN_S
            for descriptor in hellos:
                guarded(self._readable, descriptor, now)
                if time.monotonic() > latest:
                    break
        return others

    def admit(self, descriptor: int, number: int, peer: object, now: float) -> None:
        """Take a client that was just accepted, and its hello if that is there already.

        ``number`` is its origin's in ``clients``. Raises ``OSError`` where it cannot be watched;
        the descriptor is the caller's then.
        """
        self.epoll.register(descriptor, _IN)
        self.clients.add(descriptor, number, now)
        self._guarded(self._welcome, descriptor, now, peer)

    def resume(
        self, descriptor: int, number: int, context: Retried, remaining_s: float, now: float
    ) -> None:
        """Answer a client that redeemed its cookie in another process.

        The descriptor is ours from now on; ``remaining_s`` is what its handshake may still take.
        """
        self.clients.add(descriptor, number, now, Stage.SIGNATURE)
        self._wheel.set(descriptor, now + remaining_s)
        self._guarded(self._sign, descriptor, now, (context, remaining_s))

    def release(self, descriptor: int) -> None:
        """The loan of a delivered descriptor is over: forget it. It is not closed."""
        self.clients.remove(descriptor)

    def expire(self, now: float) -> None:
        """Drop whose time is over."""
        for descriptor in self._wheel.expire(now):
            self._guarded(self._expired, descriptor, now)

    def oldest_age_s(self) -> float:
        """Seconds since the oldest half-open handshake's connection was accepted."""
        now = time.monotonic()
        ages = (self.clients.age_s(one, now) for one in self.clients.in_stage(Stage.REPLY))
        return max(ages, default=0.0)

    def close(self) -> None:
        """Close everything that is still here."""
        for descriptor in self.clients.known():
            self._endings.drop(descriptor)
        self.epoll.close()

    # --- one event -----------------------------------------------------------------------

    def _guarded(
        self, handler: Callable[..., None], descriptor: int, now: float, given: object = None
    ) -> bool:
        """Whether the handler came to its end."""
        try:
            try:
                handler(descriptor, now, given)
            except TlsError as refusal:
                self._endings.refuse(descriptor, refusal)
            else:
                return True
        except OSError as error:
            self._endings.failed(descriptor, errno_label(error))
        except Exception:
            # A bug of ours must cost one client, not the batch: an exception in this callback
            # would come again at once, for ever.
            _log.exception("front_event_failed")
            self._endings.failed(descriptor, "internal_error")
        return False

    def _gone(self, descriptor: int, _: float, __: object) -> None:
        self._endings.failed(descriptor, "econnreset")

    def _expired(self, descriptor: int, _: float, __: object) -> None:
        self._endings.expired(descriptor)

    def _flush(self, descriptor: int, _: float, __: object) -> None:
        self.outgoing.flush(descriptor)

    def _welcome(self, descriptor: int, now: float, peer: object) -> None:
        """Most hellos are there when their client is accepted, in one piece."""
        origin = self.clients.origin(descriptor)
        settings = origin.answerer.settings
        if self._sources.limited:
            five_tuple = origin.five_tuples.of(descriptor, peer)
            if not self._sources.enter(descriptor, five_tuple, self._pressure.active):
                self._endings.failed(descriptor, "source_limit")
                return
        try:
            data = os.read(descriptor, _READ_SIZE)
        except BlockingIOError:
            self._wheel.set(descriptor, now + settings.hello_timeout_s)
            return
        whole = read_hello(data, settings.hello_limit_bytes)
        if isinstance(whole, WholeHello):
            self._first_hello(descriptor, origin, whole, now, peer)
        elif data:
            self._wheel.set(descriptor, now + settings.hello_timeout_s)
            self._keep(descriptor, whole, now)
        else:
            self._endings.failed(descriptor, "peer_closed")

    def _readable(self, descriptor: int, now: float, _: object = None) -> None:
        clients = self.clients
        stage = clients.stage(descriptor)
        if stage == _FREE:
            return  # closed for its bytes in the pool while it stood in this batch
        try:
            data = os.read(descriptor, _READ_SIZE)
        except BlockingIOError:
            return
        if not data:
            self._endings.failed(descriptor, "peer_closed")
        elif stage == _REPLY:
            self._reply(descriptor, data, now)
        elif stage != _LINGER:
            self._hello(descriptor, data, now)
        # LINGER: what a refused client still sends is read and dropped until it closes.

    def _hello(self, descriptor: int, data: bytes, now: float) -> None:
        clients = self.clients
        origin = clients.origin(descriptor)
        limit = origin.answerer.settings.hello_limit_bytes
        second = clients.stage(descriptor) == _SECOND_HELLO
        pending = clients.take_pending(descriptor)
        whole: WholeHello | HelloReader
        if isinstance(pending, HelloReader):
            whole = pending.receive(data) or pending
        elif second:
            reader = HelloReader(limit, second=True, skip=EARLY_DATA_LIMIT)
            whole = reader.receive(data) or reader
        else:
            whole = read_hello(data, limit)
        if isinstance(whole, HelloReader):
            self._keep(descriptor, whole, now)
        elif second:
            self._second_hello(descriptor, origin, whole, now)
        else:
            self._first_hello(descriptor, origin, whole, now)

    def _first_hello(
        self, descriptor: int, origin: Origin, whole: WholeHello, now: float, peer: object = None
    ) -> None:
        five_tuple = origin.five_tuples.of(descriptor, peer)
        answerer = origin.answerer
        if answerer.table.find(five_tuple) is not None:
            self._supersede(five_tuple)
        answer = answerer.first_hello(five_tuple, whole, now)
        retried = answer.stage is not Stage.REPLY
        if not (retried and origin.five_tuples.lasting):
            self.clients.store_key(descriptor, five_tuple)
        self._metrics.hello(retried)
        self._pressure.answered += 1
        self._answered(descriptor, origin, answer.data, answer.stage, now)
        if whole.unread:
            # 0-RTT data or a CCS that came in the hello's segment.
            (self._hello if retried else self._reply)(descriptor, whole.unread, now)

    def _supersede(self, five_tuple: bytes) -> None:
        """Who reconnects from the same port has given up the connection that had it.

        The event about that one may be behind this one.
        """
        former = self.clients.holder(five_tuple)
        if former is not None:
            self._endings.failed(former, "reconnected")

    def _second_hello(self, descriptor: int, origin: Origin, whole: WholeHello, now: float) -> None:
        five_tuple = self.clients.key(descriptor) or origin.five_tuples.of(descriptor)
        answer = origin.answerer.second_hello(five_tuple, whole, now)
        self._metrics.retry_returned()
        if isinstance(answer, Retried):
            self._lend(descriptor, answer, origin, now)
            return
        self.clients.store_key(descriptor, five_tuple)
        self._answered(descriptor, origin, answer.data, answer.stage, now)
        if whole.unread:
            self._reply(descriptor, whole.unread, now)

    def _sign(self, descriptor: int, now: float, given: tuple[Retried, float]) -> None:
        context, remaining_s = given
        origin = self.clients.origin(descriptor)
        five_tuple = origin.five_tuples.of(descriptor)
        # Who asks for every client's cookie is under pressure always.
        if not self._sources.enter(descriptor, five_tuple, True):
            self._endings.failed(descriptor, "source_limit")
            return
        if origin.answerer.table.find(five_tuple) is not None:
            self._supersede(five_tuple)
        answer = origin.answerer.retried(five_tuple, context)
        self.clients.store_key(descriptor, five_tuple)
        self.epoll.register(descriptor, _IN)
        self.clients.advance(descriptor, answer.stage)
        self.outgoing.send(descriptor, answer.data)
        wait_s = min(origin.answerer.settings.reply_timeout_s, remaining_s)
        self._wheel.set(descriptor, now + wait_s)
        if context.unread:
            self._reply(descriptor, context.unread, now)

    def _answered(
        self, descriptor: int, origin: Origin, data: bytes, stage: Stage, now: float
    ) -> None:
        """Send the answer, and wait for what it asks for."""
        # First: who has reset its connection by now was answered all the same, and is abandoned.
        self.clients.advance(descriptor, stage)
        self.outgoing.send(descriptor, data)
        settings = origin.answerer.settings
        wait_s = settings.reply_timeout_s if stage is Stage.REPLY else settings.hello_timeout_s
        remaining_s = self._remaining_s(descriptor, origin, now)
        self._wheel.set(descriptor, now + min(wait_s, remaining_s))

    def _remaining_s(self, descriptor: int, origin: Origin, now: float) -> float:
        age_s = self.clients.age_s(descriptor, now)
        return origin.answerer.settings.handshake_timeout_s - age_s

    def _reply(self, descriptor: int, data: bytes, now: float) -> None:
        clients = self.clients
        origin = clients.origin(descriptor)
        pending = clients.take_pending(descriptor)
        if isinstance(pending, bytes):
            data = pending + data
        result = origin.answerer.reply(clients.key(descriptor) or b"", data)
        if isinstance(result, Established):
            self._metrics.finished(result)
            self._lend(descriptor, result, origin, now)
        elif result < len(data):
            self._keep(descriptor, data[result:], now)

    def _lend(self, descriptor: int, context: TlsContext, origin: Origin, now: float) -> None:
        # From here no event of ours may touch it.
        self.epoll.unregister(descriptor)
        self._wheel.clear(descriptor)
        self._sources.leave(descriptor)
        self.outgoing.forget(descriptor)
        remaining_s = self._remaining_s(descriptor, origin, now)
        self.clients.advance(descriptor, Stage.OFFERED)
        self._deliver(descriptor, context, origin, remaining_s, now)

    def _keep(self, descriptor: int, pending: HelloReader | bytes, now: float) -> None:
        """Hold a message that is not whole, within the pool of all such."""
        clients = self.clients
        clients.keep(descriptor, pending)
        settings = clients.origin(descriptor).answerer.settings
        if clients.pending_bytes > settings.partial_hello_limit_bytes:
            # Those who fill it go, not those who come: a few clients with the largest hellos
            # would else keep out everybody whose hello takes two segments.
            for hog in clients.hogs():
                self._endings.failed(hog, "pool_full")
