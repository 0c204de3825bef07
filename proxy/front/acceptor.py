"""The listening sockets of one front: what they bring is admitted, and nothing stops them for good.

Owns the sockets. Rules: a front that is out of descriptors or memory pauses and goes on by itself;
a socket that is removed is emptied first, because closing it resets what the kernel still queues.
"""

import asyncio
import errno
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

from proxy.front.answerer import Answerer
from proxy.front.five_tuple import FiveTuples
from proxy.front.metrics import FrontMetrics, errno_label

__all__ = ["Acceptor", "ListeningSocket"]

_log = structlog.get_logger("vestibule.front")

# A turn's accepts: more would keep replies waiting behind a burst of new clients.
_ACCEPTS_PER_TURN: Final = 128
# Out of descriptors or memory: other clients have to end first (nginx waits 500 ms).
_PAUSE_S: Final = 0.1
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# accept(2): the client's failure, not ours.
_CLIENT_GONE: Final = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})


class ListeningSocket(NamedTuple):
    """A socket that clients come to, and who answers them."""

    socket: socket.socket
    five_tuples: FiveTuples
    answerer: Answerer


class Acceptor:
    """``admit`` is given each new client: descriptor, 5-tuple, who answers it, and the time."""

    def __init__(
        self,
        epoll: select.epoll,
        admit: Callable[[int, bytes, Answerer, float], None],
        metrics: FrontMetrics,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = epoll
        self._admit = admit
        self._metrics = metrics
        self._sockets: dict[int, ListeningSocket] = {}
        self._paused: set[int] = set()

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._sockets

    def listen(self, listening: ListeningSocket) -> None:
        """Accept from this socket, or let another answerer answer what it brings from now on."""
        descriptor = listening.socket.fileno()
        if descriptor not in self._sockets:
            listening.socket.setblocking(False)
            self._epoll.register(descriptor, select.EPOLLIN)
        self._sockets[descriptor] = listening

    def unlisten(self, descriptor: int) -> None:
        """Take what is queued, then close."""
        listening = self._sockets.get(descriptor)
        if listening is None:
            return
        for _ in range(listening.answerer.settings.backlog // _ACCEPTS_PER_TURN + 1):
            # Bounded: what comes in a flood meanwhile is not worth waiting for.
            if not self._accept(listening, time.monotonic()):
                break
        del self._sockets[descriptor]
        if descriptor not in self._paused:
            self._epoll.unregister(descriptor)
        self._paused.discard(descriptor)
        listening.socket.close()

    def close(self) -> None:
        """Remove every socket."""
        for descriptor in list(self._sockets):
            self.unlisten(descriptor)

    def ready(self, descriptor: int, now: float) -> None:
        """Take a turn's worth of what this socket brings. Never raises."""
        listening = self._sockets[descriptor]
        try:
            self._accept(listening, now)
        except Exception:
            _log.exception("front_accept_failed")
            self._pause(listening)

    def _accept(self, listening: ListeningSocket, now: float) -> bool:
        """Take up to a turn's worth of new clients; whether there may be more."""
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, peer = listening.socket.accept()
            except BlockingIOError:
                return False
            except OSError as error:
                self._metrics.accept_error(errno_label(error))
                if error.errno in _CLIENT_GONE:
                    continue
                self._pause(listening)
                if error.errno not in _EXHAUSTED:
                    _log.error("accept_failed", error=str(error))
                return False
            connection.setblocking(False)
            self._register(listening, connection.detach(), peer, now)
        return True

    def _register(
        self, listening: ListeningSocket, descriptor: int, peer: object, now: float
    ) -> None:
        """Wait for the hello of an accepted connection; one that cannot be admitted is closed."""
        try:
            five_tuple = listening.five_tuples.of(descriptor, peer)
            self._epoll.register(descriptor, select.EPOLLIN)
        except OSError:
            os.close(descriptor)
            return
        except Exception:
            _log.exception("front_accept_failed")
            os.close(descriptor)
            return
        self._admit(descriptor, five_tuple, listening.answerer, now)

    def _pause(self, listening: ListeningSocket) -> None:
        descriptor = listening.socket.fileno()
        if descriptor in self._paused:
            return
        self._paused.add(descriptor)
        self._epoll.unregister(descriptor)
        self._loop.call_later(_PAUSE_S, self._resume, descriptor)

    def _resume(self, descriptor: int) -> None:
        if descriptor not in self._paused:
            return
        try:
            self._epoll.register(descriptor, select.EPOLLIN)
        except OSError:
            # Out of memory, or of watches (/proc/sys/fs/epoll): a listener is never given up.
            self._loop.call_later(_PAUSE_S, self._resume, descriptor)
        else:
            self._paused.discard(descriptor)
