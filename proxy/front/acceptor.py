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
from dataclasses import dataclass
from typing import Final

import structlog

from proxy.front.handshakes import Handshakes
from proxy.front.metrics import FrontMetrics, errno_label
from proxy.front.origin import Origin
from proxy.telemetry import Counter

__all__ = ["Acceptor"]

_log = structlog.get_logger("vestibule.front")

# What a turn's accepts, their hellos included, may take: more would keep replies waiting.
_ACCEPTS_PER_TURN_S: Final = 0.004
# Out of descriptors or memory: other clients have to end first (nginx waits 500 ms).
_PAUSE_S: Final = 0.1
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# accept(2): the client's failure, not ours.
_CLIENT_GONE: Final = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})


@dataclass(slots=True)
class _Listening:
    """A socket that clients come to, and the number of the origin that they get."""

    socket: socket.socket
    origin: Origin
    number: int
    accept: Callable[[], tuple[int, object]]
    accepted: Counter
    paused: bool = False


class Acceptor:
    """Gives each new client to ``handshakes``."""

    def __init__(self, handshakes: Handshakes, metrics: FrontMetrics) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = handshakes.epoll
        self._handshakes = handshakes
        self._metrics = metrics
        self._sockets: dict[int, _Listening] = {}
        self._behind_since_s: float | None = None

    def listen(self, listening: socket.socket, origin: Origin) -> None:
        """Accept from this socket, or let another origin be that of what it brings from now on."""
        descriptor = listening.fileno()
        number = self._handshakes.clients.enrol(origin)
        known = self._sockets.get(descriptor)
        if known is not None:
            self._handshakes.clients.dismiss(known.number)
            known.origin, known.number = origin, number
            known.accepted = self._metrics.accepted(origin.answerer.settings.name)
            return
        listening.setblocking(False)
        self._epoll.register(descriptor, select.EPOLLIN)
        self._sockets[descriptor] = _Listening(
            # socket.accept() is this and a socket object, which costs as much as the system call
            # and would only be taken apart again.
            listening,
            origin,
            number,
            listening._accept,  # type: ignore[attr-defined]  # typeshed leaves it out
            self._metrics.accepted(origin.answerer.settings.name),
        )

    def unlisten(self, descriptor: int) -> None:
        """Take what is queued, then close."""
        listening = self._sockets.get(descriptor)
        if listening is None:
            return
        for _ in range(listening.origin.answerer.settings.backlog):
            # Bounded: what comes in a flood meanwhile is not worth waiting for.
            if not self._accept(listening, time.monotonic()):
                break
        del self._sockets[descriptor]
        if not listening.paused:
            self._epoll.unregister(descriptor)
        self._handshakes.clients.dismiss(listening.number)
        listening.socket.close()

    def close(self) -> None:
        """Remove every socket."""
        for descriptor in list(self._sockets):
            self.unlisten(descriptor)

    def ready(self, descriptors: list[int], now: float) -> None:
        """Take a turn's worth of what these sockets bring. Never raises."""
        behind = False
        began_s = time.thread_time()
        for descriptor in descriptors:
            listening = self._sockets.get(descriptor)
            if listening is None:
                continue
            try:
                behind |= self._accept_some(listening, now)
            except Exception:
                _log.exception("front_accept_failed")
                self._pause(listening)
        if not behind:
            self._behind_since_s = None
        elif self._behind_since_s is None:
            self._behind_since_s = began_s

    def behind_s(self, cpu_s: float) -> float:
        """CPU time that went by while clients were waiting in a queue without a moment's end.

        ``cpu_s`` is what ``time.thread_time`` says now.
        """
        return 0.0 if self._behind_since_s is None else cpu_s - self._behind_since_s

    def _accept_some(self, listening: _Listening, now: float) -> bool:
        """Take up to a turn's worth of new clients; whether there may be more."""
        latest = now + _ACCEPTS_PER_TURN_S
        while self._accept(listening, now):
            now = time.monotonic()
            if now > latest:
                return True
        return False

    def _accept(self, listening: _Listening, now: float) -> bool:
        """Take one new client; whether there may be more."""
        try:
            descriptor, peer = listening.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            self._metrics.accept_error(errno_label(error))
            if error.errno in _CLIENT_GONE:
                return True
            self._pause(listening)
            if error.errno not in _EXHAUSTED:
                _log.error("accept_failed", error=str(error))
            return False
        listening.accepted.value += 1
        try:
            os.set_blocking(descriptor, False)
            self._handshakes.admit(descriptor, listening.number, peer, now)
        except OSError:
            os.close(descriptor)
        except Exception:
            _log.exception("front_accept_failed")
            os.close(descriptor)
        return True

    def _pause(self, listening: _Listening) -> None:
        if listening.paused:
            return
        listening.paused = True
        self._epoll.unregister(listening.socket.fileno())
        self._loop.call_later(_PAUSE_S, self._resume, listening)

    def _resume(self, listening: _Listening) -> None:
        if self._sockets.get(listening.socket.fileno()) is not listening:
            return
        try:
            self._epoll.register(listening.socket.fileno(), select.EPOLLIN)
        except OSError:
            # Out of memory, or of watches (/proc/sys/fs/epoll): a listener is never given up.
            self._loop.call_later(_PAUSE_S, self._resume, listening)
        else:
            listening.paused = False
