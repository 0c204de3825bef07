"""A group of interchangeable servers: `acquire` gives a connection to one of them.

The thin asyncio edge over `assign`: it dials, waits, closes, and keeps each server's newest TLS
session. Rules: nothing is dialled before `acquire`. An idle connection on which anything happens
is closed at once: whatever comes before a request is no answer to it. Waiting requests are served
in order, and nobody overtakes them.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from time import monotonic

from proxy.edge import Stream
from proxy.upstream.assign import Assigner, Dial, Reuse, Unassigned
from proxy.upstream.connect import connect
from proxy.upstream.errors import ConnectFailed, NoServerAvailable, UpstreamError
from proxy.upstream.observer import Unobserved, UpstreamObserver
from proxy.upstream.settings import BackendSettings, ServerAddress
from proxy.upstream.tls import SslSession, client_context

_Assignment = Reuse[Stream] | Dial

VERIFIED_FOR_S = 3600.0
"""How long sessions are resumed after a server's certificate was checked. Each brings a ticket for
the next, so nobody would ever notice that it has expired (RFC 8446, Section 4.6.1)."""

SESSION_READ_EVERY_S = 300.0
"""How often a server's newest session is read. Before 3.12.8 and 3.13.1 Python leaks 6 KB with each
(gh-116810), and a client that has connections to backends closed, by uploads that it breaks off,
could else have them read as often as it likes."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What one request has behind it."""

    tried: frozenset[int] = frozenset()
    failure: UpstreamError | None = None

    def after(self, server: int, failure: UpstreamError) -> _Attempt:
        """The same request after it failed on one more server."""
        return _Attempt(self.tried | {server}, failure)


_FIRST_ATTEMPT = _Attempt()


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server as seen by one worker, for metrics and `status`."""

    server: ServerAddress
    in_rotation: bool
    in_use: int
    idle: int


class Lease:
    """A connection on loan: end it by exactly one of `release`, `discard` and `failed`."""

    __slots__ = ("_backend", "_ended", "_index", "reused", "stream")

    def __init__(self, backend: Backend, index: int, stream: Stream, *, reused: bool) -> None:
        self._backend = backend
        self._index = index
        self._ended = False
        self.stream = stream
        """The connection."""
        self.reused = reused
        """It has carried an exchange before. If it fails before any byte of the response, the
        server may have closed it for idleness: a caller that may send again should."""

    @property
    def server(self) -> ServerAddress:
        """Where the connection leads."""
        return self._backend.settings.servers[self._index]

    def responded(self) -> None:
        """The server answered: its failures are forgotten. `release` implies it."""
        self._backend._succeeded(self._index)

    def release(self) -> None:
        """The exchange is complete: keep the connection for another.

        A connection that is not `quiet` (bytes behind the response, an end) is closed instead.
        """
        self._end()
        self._backend._succeeded(self._index)
        if not self.reused:
            # Tickets come with the first response or before it.
            self._backend._remember_session(self._index, self.stream)
        self._backend._take_back(self._index, self.stream)

    def discard(self) -> None:
        """Close the connection at once, for reasons that say nothing about the server."""
        self._end()
        self._backend._part(self._index, self.stream)

    def failed(self) -> None:
        """Close the connection: the server broke it before it responded.

        On a reused connection that says nothing about the server, and it is not counted.
        """
        self._end()
        self.stream.abort()
        self._backend._part(self._index, self.stream)
        if not self.reused:
            self._backend._failed(self._index)

    def _end(self) -> None:
        if self._ended:
            raise RuntimeError("the lease has ended")
        self._ended = True


class Backend:
    """One group of servers, for one event loop."""

    def __init__(self, settings: BackendSettings, observer: UpstreamObserver | None = None) -> None:
        """Raises ValueError where the trust anchors cannot be read."""
        self.settings = settings
        self._observer: UpstreamObserver = observer or Unobserved()
        self._assigner = Assigner[Stream](settings)
        self._sessions: list[ssl.SSLSession | None] = [None] * len(settings.servers)
        self._verified_at = [0.0] * len(settings.servers)
        self._session_read_at = [-SESSION_READ_EVERY_S] * len(settings.servers)
        tls = any(server.scheme == "https" for server in settings.servers)
        self._context = client_context(settings.tls) if tls else None
        self._waiting: dict[asyncio.Future[_Assignment], _Attempt] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    def state(self) -> list[ServerState]:
        """What every server's connections and health are now."""
        balancer = self._assigner.balancer
        return [
            ServerState(server, balancer.in_rotation(index), pool.in_use, pool.idle)
            for index, (server, pool) in enumerate(
                zip(self.settings.servers, self._assigner.pools, strict=True)
            )
        ]

    async def acquire(self) -> Lease:
        """A connection that nobody else uses: an idle one, else a new one.

        A server that cannot be connected to is counted and another one tried, up to
        `connect_attempts`. Raises the last UpstreamError, or NoServerAvailable.
        """
        attempt = _FIRST_ATTEMPT
        while True:
            assignment = self._assigned(attempt)
            if assignment is None:
                assignment = await self._wait(attempt)
            index = assignment.server
            if isinstance(assignment, Reuse):
                stream = assignment.connection
                # RFC 9112, Section 9.2: bytes that came behind a response answer no request. The
                # loop may not have seen them yet, and the next client would get them.
                if stream.idle:
                    return Lease(self, index, stream, reused=True)
                self._part(index, stream)
                continue
            try:
                stream = await self._dial(index)
            except UpstreamError as error:
                attempt = attempt.after(index, error)
                if len(attempt.tried) >= self.settings.connect_attempts:
                    raise
            else:
                return Lease(self, index, stream, reused=False)

    def close(self) -> None:
        """Close what is idle, refuse who waits; leased connections close when they end."""
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        for pool in self._assigner.pools:
            for stream in pool.drain():
                stream.close()
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(NoServerAvailable("closed", "the backend is closed"))

    # Deciding and waiting

    def _assigned(self, attempt: _Attempt) -> _Assignment | None:
        """What can be had at once; None: wait. Raises UpstreamError where waiting is no use."""
        if self._closed:
            raise NoServerAvailable("closed", "the backend is closed")
        if self._waiting:
            # A server may have become usable by the mere passing of time: first come, first served.
            self._serve_waiting()
            if self._waiting:
                return None
        decision = self._decide(attempt)
        if decision is Unassigned.TRIED:
            raise self._nothing_left(attempt)
        return None if decision is Unassigned.FULL else decision

    def _nothing_left(self, attempt: _Attempt) -> UpstreamError:
        message = f"{self.settings.name}: no server is left to try"
        return attempt.failure or NoServerAvailable("no_server", message)

    def _decide(self, attempt: _Attempt) -> _Assignment | Unassigned:
        decision = self._assigner.assign(monotonic(), attempt.tried)
        if isinstance(decision, Reuse):
            decision.connection.when_readable(None)
        return decision

    async def _wait(self, attempt: _Attempt) -> _Assignment:
        if len(self._waiting) >= self.settings.max_waiting:
            raise NoServerAvailable("queue_full", f"{self.settings.name}: too many requests wait")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[_Assignment] = loop.create_future()
        self._waiting[waiter] = attempt
        timer = loop.call_later(self.settings.wait_timeout_s, self._wait_expired, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())
            raise
        finally:
            timer.cancel()
            self._waiting.pop(waiter, None)

    def _wait_expired(self, waiter: asyncio.Future[_Assignment]) -> None:
        self._waiting.pop(waiter, None)
        if not waiter.done():
            message = f"{self.settings.name}: no connection within {self.settings.wait_timeout_s} s"
            waiter.set_exception(NoServerAvailable("queue_timeout", message))

    def _give_back(self, assignment: _Assignment) -> None:
        """An assignment that nobody uses after all."""
        if isinstance(assignment, Reuse):
            self._take_back(assignment.server, assignment.connection)
        else:
            self._assigner.pools[assignment.server].forget()
            self._serve_waiting()

    def _serve_waiting(self) -> None:
        while self._waiting:
            waiter, attempt = next(iter(self._waiting.items()))
            if not waiter.done():
                decision = self._decide(attempt)
                if decision is Unassigned.FULL:
                    return
                if isinstance(decision, Unassigned):
                    waiter.set_exception(self._nothing_left(attempt))
                else:
                    waiter.set_result(decision)
            del self._waiting[waiter]

    # Connections

    async def _dial(self, index: int) -> Stream:
        server = self.settings.servers[index]
        loop = asyncio.get_running_loop()
        began = loop.time()
        if began - self._verified_at[index] >= VERIFIED_FOR_S:
            self._sessions[index] = None
        try:
            stream = await connect(
                server,
                self.settings.connect_timeout_s,
                self._context if server.scheme == "https" else None,
                server_name=self.settings.tls.server_name,
                resume=self._sessions[index],
            )
        except BaseException as error:
            self._assigner.pools[index].forget()
            # It may be that the server cannot cope with the session that we offered.
            self._sessions[index] = None
            if isinstance(error, UpstreamError):
                self._observed_dial(server, error.reason, loop.time() - began, resumed=False)
                if not (isinstance(error, ConnectFailed) and error.ours):
                    self._failed(index)
            self._serve_waiting()
            raise
        session = stream.session
        resumed = isinstance(session, SslSession) and session.resumed
        if not resumed:
            self._verified_at[index] = began
        self._observed_dial(server, "ok", loop.time() - began, resumed=resumed)
        return stream

    def _observed_dial(
        self, server: ServerAddress, result: str, seconds: float, *, resumed: bool
    ) -> None:
        self._observer.dialed(self.settings.name, server, result, seconds, resumed)

    def _take_back(self, index: int, stream: Stream) -> None:
        if self._closed or not stream.quiet:
            self._part(index, stream)
            return
        surplus = self._assigner.pools[index].put(stream, monotonic())
        if surplus is not stream:
            stream.when_readable(lambda: self._ended_idle(index, stream))
        if surplus is not None:
            surplus.close()
        if self._expiry is None:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(self.settings.idle_timeout_s, self._expire)
        if self._waiting:
            self._serve_waiting()

    def _ended_idle(self, index: int, stream: Stream) -> None:
        self._assigner.pools[index].drop(stream)
        stream.close()
        self._serve_waiting()

    def _part(self, index: int, stream: Stream) -> None:
        if not stream.closed:
            # RFC 5246, Section 7.2.2: not the session of a connection that failed.
            self._remember_session(index, stream)
            stream.close()
        self._assigner.pools[index].forget()
        self._serve_waiting()

    def _remember_session(self, index: int, stream: Stream) -> None:
        session, now = stream.session, monotonic()
        if isinstance(session, SslSession):
            if now - self._session_read_at[index] < SESSION_READ_EVERY_S:
                return
            self._session_read_at[index] = now
            self._sessions[index] = session.resumable or self._sessions[index]

    def _expire(self) -> None:
        self._expiry = None
        now = monotonic()
        for pool in self._assigner.pools:
            for stream in pool.expire(now):
                stream.close()
        self._serve_waiting()
        following = self._assigner.next_expiry()
        if following is not None:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(following - now, self._expire)

    # Health

    def _succeeded(self, index: int) -> None:
        if self._assigner.balancer.succeeded(index):
            self._observer.returned(self.settings.name, self.settings.servers[index])

    def _failed(self, index: int) -> None:
        seconds = self._assigner.balancer.failed(index, monotonic())
        if seconds is not None:
            self._observer.set_aside(self.settings.name, self.settings.servers[index], seconds)
