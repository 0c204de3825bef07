"""How connections reach a worker: offers from fronts, accepted before the first byte is touched.

Owns the sinks. Rules: an offer that cannot be read or served is denied with a reason, and stays
the front's; an acceptance has been sent before the connection is served, since what was not
acknowledged is offered to another worker when this one dies.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import NamedTuple

import structlog

from proxy.handoff import (
    AcceptanceSent,
    Capsule,
    ChannelError,
    ChannelSettings,
    Closed,
    DenialReason,
    Offered,
    Sink,
    close_all,
    decode_capsule,
)

__all__ = ["Arrival", "Intake"]

_log = structlog.get_logger("vestibule.intake")


class Arrival(NamedTuple):
    """A connection that is this worker's now, its descriptor too."""

    capsule: Capsule
    descriptor: int


class Intake:
    """All of one worker's channels from fronts."""

    def __init__(
        self,
        check: Callable[[Capsule], DenialReason | None],
        serve: Callable[[Arrival], None],
        settings: ChannelSettings,
    ) -> None:
        """``check`` says whether a capsule can be served; ``serve`` takes the connection over."""
        self._check = check
        self._serve = serve
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._sinks: dict[tuple[str, int], Sink] = {}
        # Accepted, but the front has not been told yet.
        self._held: dict[Sink, dict[int, Arrival]] = {}
        self._draining = False
        self._holding = False

    def attach(self, peer: tuple[str, int], descriptor: int) -> None:
        """Take offers from this front; its earlier incarnation is gone."""
        sink = Sink(socket.socket(fileno=descriptor), self._settings)
        earlier = self._sinks.get(peer)
        if earlier is not None:
            self._end(peer, earlier)
        if self._draining or self._holding:
            sink.window = 0
        self._sinks[peer] = sink
        self._held[sink] = {}
        self._loop.add_reader(sink.fileno(), self._readable, peer, sink)
        self._flush(peer, sink)

    def hold(self, held: bool) -> None:
        """Give no further credit, or give it again: replies wait in the fronts meanwhile.

        What still comes for credit already given is taken.
        """
        if held is self._holding or self._draining:
            return
        self._holding = held
        for peer, sink in list(self._sinks.items()):
            sink.window = 0 if held else self._settings.window
            self._flush(peer, sink)

    def drain(self) -> None:
        """Take no more; what still comes for credit already given is denied."""
        self._draining = True
        for peer, sink in list(self._sinks.items()):
            sink.window = 0
            self._flush(peer, sink)

    def close(self) -> None:
        """End every channel."""
        for peer, sink in list(self._sinks.items()):
            self._end(peer, sink)

    def refresh(self) -> None:
        """Grant again what a lack of descriptors held back; called now and then."""
        for peer, sink in list(self._sinks.items()):
            self._flush(peer, sink)

    def _readable(self, peer: tuple[str, int], sink: Sink) -> None:
        try:
            events = sink.receive()
            ready: dict[int, Arrival] = {}
            for event in events:
                match event:
                    case Offered():
                        self._offered(sink, event, ready)
                    case AcceptanceSent(ids):
                        self._release(sink, ids)
                    case Closed():
                        self._closed(peer, sink, event)
                        return
            self._accept(peer, sink, ready)
        except Exception:
            # Our bug must not come again with every wake-up: the front offers to another.
            _log.exception("intake_failed")
            self._end(peer, sink)

    def _offered(self, sink: Sink, offer: Offered, ready: dict[int, Arrival]) -> None:
        judged = self._judged(offer)
        if isinstance(judged, DenialReason):
            sink.deny(offer.id, judged)
        else:
            ready[offer.id] = Arrival(judged, offer.descriptor)

    def _judged(self, offer: Offered) -> Capsule | DenialReason:
        try:
            capsule = decode_capsule(offer.payload)
            denial = DenialReason.DRAINING if self._draining else self._check(capsule)
        except ChannelError as error:
            _log.error("capsule_refused", detail=str(error))
            return DenialReason.UNREADABLE
        except Exception:
            # A bug of ours that one capsule brings out must not cost the others their channel.
            _log.exception("capsule_check_failed")
            return DenialReason.UNREADABLE
        return capsule if denial is None else denial

    def _accept(self, peer: tuple[str, int], sink: Sink, ready: dict[int, Arrival]) -> None:
        self._held[sink].update(ready)
        if sink.accept(ready):
            self._release(sink, ready)
        self._watch(peer, sink)

    def _release(self, sink: Sink, ids: Iterable[int]) -> None:
        held = self._held[sink]
        for number in ids:
            arrival = held.pop(number, None)
            if arrival is not None:
                self._start(arrival)

    def _start(self, arrival: Arrival) -> None:
        try:
            self._serve(arrival)
        except Exception:
            _log.exception("connection_not_served")
            close_all((arrival.descriptor,))

    def _closed(self, peer: tuple[str, int], sink: Sink, event: Closed) -> None:
        _log.info("front_detached", reason=event.reason.value, detail=event.detail)
        self._forget(peer, sink)
        sink.close()
        held = self._held.pop(sink)
        # Revoked: the front gives these to somebody else, so nobody here may write to them.
        close_all(arrival.descriptor for arrival in held.values())

    def _end(self, peer: tuple[str, int], sink: Sink) -> None:
        self._forget(peer, sink)
        sink.close()
        held = self._held.pop(sink, {})
        close_all(arrival.descriptor for arrival in held.values())

    def _forget(self, peer: tuple[str, int], sink: Sink) -> None:
        if sink.fileno() >= 0:
            self._loop.remove_reader(sink.fileno())
            self._loop.remove_writer(sink.fileno())
        if self._sinks.get(peer) is sink:
            del self._sinks[peer]

    def _flush(self, peer: tuple[str, int], sink: Sink) -> None:
        sink.flush()
        self._watch(peer, sink)

    def _watch(self, peer: tuple[str, int], sink: Sink) -> None:
        if sink.wants_write:
            self._loop.add_writer(sink.fileno(), self._writable, peer, sink)

    def _writable(self, peer: tuple[str, int], sink: Sink) -> None:
        self._loop.remove_writer(sink.fileno())
        sink.flush()
        self._readable(peer, sink)
