"""Clients on offer to workers: the front's side of the hand-off channels, on the loop.

Owns the sources' readers and writers, through the dispatcher every offer. A descriptor that is
offered is lent: it is closed here when a worker has it, or when nobody wants it.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable

import structlog

from proxy.front.origin import Origin
from proxy.handoff import (
    Accepted,
    Capsule,
    Denied,
    Detached,
    Dispatcher,
    DispatcherEvent,
    Source,
    encode_capsule,
)
from proxy.tls import Retried, TlsContext
from proxy.wire import AlertDescription, alert_record

__all__ = ["Offers"]

_log = structlog.get_logger("vestibule.front")

_INTERNAL_ERROR = alert_record(AlertDescription.INTERNAL_ERROR)


class Offers:
    """``release`` is told of each descriptor that is offered no more, before it is closed."""

    def __init__(self, dispatcher: Dispatcher, release: Callable[[int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._dispatcher = dispatcher
        self._release = release
        self._lost: dict[Source, Callable[[], None]] = {}
        # Those whose ServerHello has not been sent: an alert in clear is theirs to have.
        self._unanswered: set[int] = set()

    def offer(
        self, descriptor: int, context: TlsContext, origin: Origin, remaining_s: float, now: float
    ) -> None:
        """Offer a client to whichever worker has room."""
        answerer = origin.answerer
        capsule = Capsule(
            answerer.generation, context, listener=answerer.number, remaining_s=remaining_s
        )
        payload = encode_capsule(capsule)
        if isinstance(context, Retried):
            self._unanswered.add(descriptor)
        denied = self._dispatcher.offer(payload, descriptor, now)
        if denied is not None:
            self._settle((denied,))

    def flush(self, now: float) -> None:
        """Send what was offered in this turn. Never raises."""
        try:
            self._settle(self._dispatcher.flush(now))
        except Exception:
            _log.exception("front_flush_failed")

    def expire(self, now: float) -> None:
        """Give up what has waited too long. Never raises."""
        try:
            self._settle(self._dispatcher.expire(now))
        except Exception:
            _log.exception("front_expire_failed")

    def attach(self, source: Source, lost: Callable[[], None]) -> None:
        """Offer to this worker as well, until `lost` is called: its channel has ended."""
        self._lost[source] = lost
        self._loop.add_reader(source.fileno(), self._ready, source)
        self._settle(self._dispatcher.attach(source, time.monotonic()))

    def close(self) -> None:
        """End every channel, and close what nobody took."""
        self._settle(self._dispatcher.close(time.monotonic()))

    def _ready(self, source: Source) -> None:
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
                        self._end(offer.descriptor)
                case Denied(offer, _):
                    # Nobody serves this client; its keys are gone with the capsule.
                    if offer.descriptor in self._unanswered:
                        _write(offer.descriptor, _INTERNAL_ERROR)
                    self._end(offer.descriptor)
                case Detached(source, reason, detail):
                    _log.info("worker_detached", reason=reason.value, detail=detail)
                    self._loop.remove_reader(source.fileno())
                    self._loop.remove_writer(source.fileno())
                    source.close()
                    self._lost.pop(source)()
        for source in self._dispatcher.sources:
            if source.wants_write:
                self._loop.add_writer(source.fileno(), self._writable, source)

    def _writable(self, source: Source) -> None:
        self._loop.remove_writer(source.fileno())
        self._ready(source)

    def _end(self, descriptor: int) -> None:
        self._unanswered.discard(descriptor)
        self._release(descriptor)
        os.close(descriptor)


def _write(descriptor: int, alert: bytes) -> None:
    try:
        os.write(descriptor, alert)
    except OSError:
        return  # the client is gone, and does without
