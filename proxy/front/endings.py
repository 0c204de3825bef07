"""How a client ends that is not given away: refused with an alert, failed, too slow, closed.

Frees all it held and counts why, once: what fails behind an alert is the alert's own affair.
"""

import os
import select
import time
from contextlib import suppress
from typing import Final

from proxy.front.answerer import Stage
from proxy.front.clients import Clients
from proxy.front.metrics import FrontMetrics
from proxy.front.outgoing import Outgoing
from proxy.front.pressure import Pressure
from proxy.front.sources import Sources
from proxy.front.wheel import DeadlineWheel
from proxy.tls import TlsError

__all__ = ["Endings"]

# How long a refused client may take to read its alert before the descriptor is closed.
_LINGER_S: Final = 1.0

_FREE: Final = int(Stage.FREE)
_SECOND_HELLO: Final = int(Stage.SECOND_HELLO)
_REPLY: Final = int(Stage.REPLY)
_LINGER: Final = int(Stage.LINGER)
_SIGNATURE: Final = int(Stage.SIGNATURE)


class Endings:
    """The ends of the clients of one ``Handshakes``, whose parts these are.

    ``shared``: other processes may have copies of the clients' descriptors.
    """

    __slots__ = (
        "_clients",
        "_epoll",
        "_metrics",
        "_outgoing",
        "_pressure",
        "_shared",
        "_sources",
        "_wheel",
    )

    def __init__(
        self,
        epoll: select.epoll,
        clients: Clients,
        outgoing: Outgoing,
        wheel: DeadlineWheel,
        sources: Sources,
        pressure: Pressure,
        metrics: FrontMetrics,
        shared: bool,
    ) -> None:
        self._epoll = epoll
        self._clients = clients
        self._outgoing = outgoing
        self._wheel = wheel
        self._sources = sources
        self._pressure = pressure
        self._metrics = metrics
        self._shared = shared

    def refuse(self, descriptor: int, error: TlsError) -> None:
        """Tell the client why, and read what it still sends until it has closed."""
        clients = self._clients
        stage = clients.stage(descriptor)
        if stage == _FREE:
            return
        self._metrics.failure(stage, error.alert, error.reason)
        try:
            if stage == _SIGNATURE:
                self._epoll.register(descriptor, select.EPOLLIN)
            answerer = clients.origin(descriptor).answerer
            alert = answerer.refuse(clients.key(descriptor), error)
            if not alert:
                self.drop(descriptor)
                return
            self._outgoing.send(descriptor, alert)
            self._outgoing.close(descriptor)
        except OSError:
            # The client is gone, or does not read: it does without the alert.
            self.drop(descriptor)
            return
        # Closing with unread bytes would reset the connection and destroy the alert on its way.
        self._abandoned(stage)
        clients.advance(descriptor, Stage.LINGER)
        self._wheel.set(descriptor, time.monotonic() + _LINGER_S)

    def failed(self, descriptor: int, reason: str) -> None:
        """Drop a client that nothing can be said to."""
        stage = self._clients.stage(descriptor)
        if stage == _FREE:
            return
        if stage != _LINGER:  # its failure has been counted
            self._metrics.failure(stage, None, reason)
        self.drop(descriptor)

    def expired(self, descriptor: int) -> None:
        """Drop a client whose time is over."""
        self._metrics.reaped(self._clients.stage(descriptor))
        self.drop(descriptor)

    def drop(self, descriptor: int) -> None:
        """Close a client that is still ours and free all it held."""
        clients = self._clients
        stage = clients.stage(descriptor)
        if stage == _FREE:
            return
        self._abandoned(stage)
        key = clients.key(descriptor)
        if key is not None and stage != _LINGER:
            # A refused client's slot is free since then, and may be that of its next connection.
            clients.origin(descriptor).answerer.forget(key)
        self._wheel.clear(descriptor)
        self._sources.leave(descriptor)
        self._outgoing.forget(descriptor)
        if self._shared:
            # Whoever sent it here may have its copy still, which would keep it in the epoll.
            with suppress(OSError):
                self._epoll.unregister(descriptor)
        clients.remove(descriptor)
        os.close(descriptor)

    def _abandoned(self, stage: int) -> None:
        if stage in (_REPLY, _SECOND_HELLO):
            self._pressure.abandoned += 1
