"""The front's event loop: accepts, reads, answers, hands off. One per process.

Clients are bare non-blocking descriptors in a private epoll instance, whose own descriptor sits on
the asyncio loop: one wake-up drains a batch of events. Rules: each event is guarded, so that one
client's failure costs that client alone; a descriptor is unregistered before it is closed or
offered; accepting comes behind the batch, so a number is never reused while an event for it waits;
replies are served before hellos.
"""

import asyncio
import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from proxy.front.acceptor import Acceptor
from proxy.front.answerer import Answerer, Stage
from proxy.front.clients import Clients
from proxy.front.metrics import FrontMetrics, errno_label
from proxy.front.wheel import DeadlineWheel
from proxy.handoff import Accepted, Denied, Detached, Dispatcher, DispatcherEvent, Source
from proxy.tls import (
    EARLY_DATA_LIMIT,
    Established,
    HelloReader,
    TlsError,
    WholeHello,
    read_hello,
)

__all__ = ["Front"]

_log = structlog.get_logger("vestibule.front")

_EVENTS_PER_TURN: Final = 256
# One full record; what lies behind it stays in the kernel for whoever owns the connection then.
_READ_SIZE: Final = 16 * 1024 + 512
# How long a refused client may take to read its alert before the descriptor is closed.
_LINGER_S: Final = 1.0
_WHEEL_TICK_S: Final = 0.25
_WHEEL_HORIZON_S: Final = 610.0  # the largest configurable time-out, 10 minutes


class Front:
    """All of one front process's clients until somebody else owns them."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        capsule: Callable[[Established, Answerer], bytes],
        metrics: FrontMetrics,
        *,
        reap_interval_s: float = _WHEEL_TICK_S,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._dispatcher = dispatcher
        self._capsule = capsule
        self._metrics = metrics
        self._reap_interval_s = reap_interval_s
        self._epoll = select.epoll()
        self._clients = Clients()
        self._wheel = DeadlineWheel(_WHEEL_HORIZON_S, _WHEEL_TICK_S, time.monotonic())
        self.acceptor = Acceptor(self._epoll, self._admit, metrics)
        """The listening sockets."""
        # Only of clients whose send buffer did not take the whole flight.
        self._unsent: dict[int, bytes] = {}
        self._lost: dict[Source, Callable[[], None]] = {}
        self._empty: asyncio.Event | None = None
        self._loop.add_reader(self._epoll.fileno(), self._turn)
        self._reaper = self._loop.call_later(reap_interval_s, self._reap)

    @property
    def clients(self) -> Clients:
        """State by descriptor, for reports."""
        return self._clients

    @property
    def unsent(self) -> int:
        """Clients whose send buffer has not taken their whole flight."""
        return len(self._unsent)

    # --- one turn ------------------------------------------------------------------------

    def _turn(self) -> None:
        now = time.monotonic()
        ready = self._epoll.poll(0, _EVENTS_PER_TURN)
        stage = self._clients.stage
        listening = []
        hellos = []
        for descriptor, mask in ready:
            if descriptor in self.acceptor:
                listening.append(descriptor)
                continue
            if mask & select.EPOLLOUT:
                self._guarded(self._writable, descriptor, now)
            if not mask & ~select.EPOLLOUT:
                continue
            if stage(descriptor) == Stage.REPLY:
                self._guarded(self._readable, descriptor, now)
            else:
                hellos.append(descriptor)
        for descriptor in hellos:
            self._guarded(self._readable, descriptor, now)
        self._flush(now)
        for descriptor in listening:
            self.acceptor.ready(descriptor, now)

    def _flush(self, now: float) -> None:
        try:
            self._settle(self._dispatcher.flush(now))
        except Exception:
            _log.exception("front_flush_failed")

    def _guarded(self, handler: Callable[[int, float], None], descriptor: int, now: float) -> None:
        if self._clients.stage(descriptor) == Stage.FREE:
            return  # dropped by the first of its two events
        try:
            try:
                handler(descriptor, now)
            except TlsError as error:
                self._refuse(descriptor, error, now)
        except OSError as error:
            stage = self._clients.stage(descriptor)
            if stage != Stage.LINGER:  # its failure has been counted
                self._metrics.failure(stage, None, errno_label(error))
            self._drop(descriptor)
        except Exception:
            # A bug of ours must cost one client, not the batch: an exception in this callback
            # would come again at once, for ever.
            _log.exception("front_event_failed")
            self._metrics.failure(self._clients.stage(descriptor), None, "internal_error")
            self._drop(descriptor)

    def _writable(self, descriptor: int, now: float) -> None:
        self._send(descriptor, b"")

    def _readable(self, descriptor: int, now: float) -> None:
        try:
            data = os.read(descriptor, _READ_SIZE)
        except BlockingIOError:
            return
        clients = self._clients
        stage = clients.stage(descriptor)
        if not data:
            if stage != Stage.LINGER:
                self._metrics.failure(stage, None, "peer_closed")
            self._drop(descriptor)
        elif stage == Stage.REPLY:
            self._reply(descriptor, data, now)
        elif stage == Stage.HELLO or stage == Stage.SECOND_HELLO:
            self._hello(descriptor, data, now)
        # LINGER: what a refused client still sends is read and dropped until it closes.

    def _hello(self, descriptor: int, data: bytes, now: float) -> None:
        clients = self._clients
        answerer = clients.answerer(descriptor)
        second = clients.stage(descriptor) == Stage.SECOND_HELLO
        pending = clients.take_pending(descriptor)
        whole: WholeHello | HelloReader | None
        if isinstance(pending, HelloReader):
            whole = pending.receive(data) or pending
        elif second:
            reader = HelloReader(
                answerer.settings.hello_limit_bytes, second=True, skip=EARLY_DATA_LIMIT
            )
            whole = reader.receive(data) or reader
        else:
            whole = read_hello(data, answerer.settings.hello_limit_bytes)
        if isinstance(whole, HelloReader):
            self._keep(descriptor, whole, now)
            return
        key = clients.key(descriptor)
        if second:
            answer = answerer.second_hello(key, whole, now)
        else:
            answer = answerer.first_hello(key, whole, now)
        self._metrics.hello(answer.kind)
        self._send(descriptor, answer.data)
        clients.advance(descriptor, answer.stage)
        settings = answerer.settings
        wait_s = (
            settings.reply_timeout_s if answer.stage is Stage.REPLY else settings.hello_timeout_s
        )
        deadline = clients.accepted_s(descriptor) + settings.handshake_timeout_s
        self._wheel.set(descriptor, min(now + wait_s, deadline), now)
        if whole.unread:
            # 0-RTT data or a CCS that came in the hello's segment.
            if answer.stage is Stage.REPLY:
                self._reply(descriptor, whole.unread, now)
            else:
                self._hello(descriptor, whole.unread, now)

    def _send(self, descriptor: int, data: bytes) -> None:
        """A flight nearly always fits the empty send buffer; what does not waits for room."""
        unsent = self._unsent.pop(descriptor, b"") + data
        sent = _write(descriptor, unsent)
        if sent < len(unsent):
            self._unsent[descriptor] = unsent[sent:]
            self._epoll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)
        elif len(unsent) > len(data):
            self._epoll.modify(descriptor, select.EPOLLIN)

    def _reply(self, descriptor: int, data: bytes, now: float) -> None:
        clients = self._clients
        answerer = clients.answerer(descriptor)
        pending = clients.take_pending(descriptor)
        if isinstance(pending, bytes):
            data = pending + data
        result = answerer.reply(clients.key(descriptor), data)
        if isinstance(result, Established):
            self._offer(descriptor, result, answerer, now)
        elif result < len(data):
            self._keep(descriptor, data[result:], now)

    def _keep(self, descriptor: int, pending: HelloReader | bytes, now: float) -> None:
        """Hold a message that is not whole, within the pool of all such."""
        clients = self._clients
        clients.keep(descriptor, pending)
        settings = clients.answerer(descriptor).settings
        if clients.pending_bytes > settings.partial_hello_limit_bytes:
            # Those who fill it go, not those who come: a few clients with the largest hellos
            # would else keep out everybody whose hello takes two segments.
            for hog in clients.hogs():
                self._guarded(self._evict, hog, now)

    def _evict(self, descriptor: int, _: float) -> None:
        self._metrics.failure(self._clients.stage(descriptor), None, "pool_full")
        self._drop(descriptor)

    # --- handing off ---------------------------------------------------------------------

    def _offer(self, descriptor: int, context: Established, answerer: Answerer, now: float) -> None:
        self._metrics.finished(context)
        # From here the descriptor is lent; no event of ours may touch it.
        self._epoll.unregister(descriptor)
        self._wheel.clear(descriptor)
        self._clients.advance(descriptor, Stage.OFFERED)
        denied = self._dispatcher.offer(self._capsule(context, answerer), descriptor, now)
        if denied is not None:
            self._settle((denied,))

    def attach(self, source: Source, lost: Callable[[], None] = lambda: None) -> None:
        """Offer to this worker as well, until `lost` is called: its channel has ended."""
        self._lost[source] = lost
        self._loop.add_reader(source.fileno(), self._source_ready, source)
        self._settle(self._dispatcher.attach(source, time.monotonic()))

    def _source_ready(self, source: Source) -> None:
        now = time.monotonic()
        try:
            if source.wants_write:
                source.flush()
            self._settle(self._dispatcher.receive(source, now))
            self._settle(self._dispatcher.flush(now))
        except Exception:
            _log.exception("front_channel_failed")
            self._settle(self._dispatcher.detach(source, now))

    def _settle(self, events: Iterable[DispatcherEvent]) -> None:
        for event in events:
            match event:
                case Accepted(offers):
                    for offer in offers:
                        self._forget(offer.descriptor)
                        os.close(offer.descriptor)
                case Denied(offer, _):
                    # Nobody serves this client; its keys are gone with the capsule.
                    self._forget(offer.descriptor)
                    os.close(offer.descriptor)
                case Detached(source, reason, detail):
                    _log.info("worker_detached", reason=reason.value, detail=detail)
                    self._loop.remove_reader(source.fileno())
                    self._loop.remove_writer(source.fileno())
                    source.close()
                    self._lost.pop(source)()
        for source in self._dispatcher.sources:
            if source.wants_write:
                self._loop.add_writer(source.fileno(), self._source_writable, source)

    def _source_writable(self, source: Source) -> None:
        self._loop.remove_writer(source.fileno())
        self._source_ready(source)

    def _forget(self, descriptor: int) -> None:
        self._clients.remove(descriptor)
        self._note_empty()

    # --- refusing and reaping ------------------------------------------------------------

    def _refuse(self, descriptor: int, error: TlsError, now: float) -> None:
        clients = self._clients
        stage = clients.stage(descriptor)
        self._metrics.failure(stage, error.alert, error.reason)
        try:
            alert = clients.answerer(descriptor).refuse(clients.key(descriptor), error)
            if not alert:
                self._drop(descriptor)
                return
            self._send(descriptor, alert)
            self._half_close(descriptor)
        except OSError:
            # The client is gone, or does not read: it does without the alert.
            self._drop(descriptor)
            return
        # Closing with unread bytes would reset the connection and destroy the alert on its way.
        clients.take_pending(descriptor)
        clients.advance(descriptor, Stage.LINGER)
        self._wheel.set(descriptor, now + _LINGER_S, now)

    def _half_close(self, descriptor: int) -> None:
        connection = socket.socket(fileno=descriptor)
        try:
            connection.shutdown(socket.SHUT_WR)
        finally:
            connection.detach()

    def _drop(self, descriptor: int) -> None:
        """Close a client that is still ours and free all it held."""
        clients = self._clients
        if clients.stage(descriptor) == Stage.FREE:
            return
        clients.answerer(descriptor).forget(clients.key(descriptor))
        self._wheel.clear(descriptor)
        self._unsent.pop(descriptor, None)
        if clients.stage(descriptor) != Stage.OFFERED:  # an offer that failed has left the epoll
            self._epoll.unregister(descriptor)
        clients.remove(descriptor)
        os.close(descriptor)
        self._note_empty()

    def _note_empty(self) -> None:
        if self._empty is not None and not len(self._clients):
            self._empty.set()

    def _reap(self) -> None:
        now = time.monotonic()
        self._reaper = self._loop.call_later(self._reap_interval_s, self._reap)
        for descriptor in self._wheel.expire(now):
            self._guarded(self._expired, descriptor, now)
        try:
            self._settle(self._dispatcher.expire(now))
        except Exception:
            _log.exception("front_expire_failed")

    def _expired(self, descriptor: int, _: float) -> None:
        self._metrics.reaped(self._clients.stage(descriptor))
        self._drop(descriptor)

    def _admit(self, descriptor: int, five_tuple: bytes, answerer: Answerer, now: float) -> None:
        """Wait for the hello of a client that was accepted."""
        self._clients.add(descriptor, answerer, five_tuple, now)
        self._wheel.set(descriptor, now + answerer.settings.hello_timeout_s, now)
        self._metrics.accepted(answerer.settings.name)

    # --- ending --------------------------------------------------------------------------

    async def drained(self, timeout_s: float) -> None:
        """Wait until no client is in our hands any more, at most so long."""
        if not len(self._clients):
            return
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return

    def oldest_age_s(self) -> float:
        """Seconds since the oldest half-open handshake's connection was accepted."""
        accepted_s = self._clients.accepted_s
        oldest = min(map(accepted_s, self._clients.in_stage(Stage.REPLY)), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    def close(self) -> None:
        """Close everything that is still here."""
        self._settle(self._dispatcher.close(time.monotonic()))
        self.acceptor.close()
        for descriptor in self._clients.known():
            self._drop(descriptor)
        self._reaper.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()


def _write(descriptor: int, data: bytes) -> int:
    """How many bytes the kernel took; a reset raises ``OSError``."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
