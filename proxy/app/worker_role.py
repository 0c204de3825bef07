"""The worker process's role: connections that fronts hand over are served by HTTP or tcp routes.

Those of keyless fronts are half-open still: they come to the same point once they have replied.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import structlog

from proxy.app.expiry import show_expiry
from proxy.app.messages import ListenerSocket
from proxy.app.observers import ConnectionMetrics, HttpObserver, RequestMetrics, UpstreamMetrics
from proxy.app.retried import RetriedClients
from proxy.app.tasks import Tasks
from proxy.app.telemetry import ProcessTelemetry
from proxy.app.worker_generation import WorkerGeneration
from proxy.config import read_worker_snapshot
from proxy.edge import Stream, TlsSession
from proxy.front import Form
from proxy.handoff import Capsule, ChannelSettings, DenialReason, close_all
from proxy.http import ClientFacts, HttpConnection
from proxy.serve import Arrival, Intake, serve_tcp
from proxy.telemetry import TlsFacts
from proxy.tls import Connection, Established, Retried
from proxy.wire import CipherSuite

__all__ = ["WorkerRole"]

_log = structlog.get_logger("vestibule.worker")

_REFRESH_S = 1.0


class WorkerRole:
    """One worker process."""

    def __init__(self, slot: int) -> None:
        self._telemetry = ProcessTelemetry("worker", slot)
        self._upstream = UpstreamMetrics(self._telemetry.metrics)
        self._requests = RequestMetrics(self._telemetry.metrics)
        self._ends = ConnectionMetrics(self._telemetry.metrics)
        self._observer = lru_cache(maxsize=1024)(self._new_observer)
        self._intake = Intake(self._check, self._serve, ChannelSettings())
        self._generations: dict[int, WorkerGeneration] = {}
        self._prepared: dict[int, WorkerGeneration] = {}
        self._current: WorkerGeneration | None = None
        self._http: set[HttpConnection] = set()
        self._connections_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self._retried = RetriedClients(self._start, self._telemetry.metrics, self._room)
        # One for each connection that is served.
        self._tasks = Tasks()
        self._empty = asyncio.Event()
        self._draining = False
        self._loop = asyncio.get_running_loop()
        self._refresh = self._loop.call_later(_REFRESH_S, self._refreshed)
        gauge = self._telemetry.metrics.gauge_function
        gauge(
            "vestibule_configuration_generation",
            lambda: 0 if self._current is None else self._current.number,
        )
        gauge("vestibule_connections_open", self._clients, "worker")

    # --- configuration -------------------------------------------------------------------

    def prepare(
        self, generation: int, snapshot: bytes, listeners: Sequence[ListenerSocket]
    ) -> None:
        """Build the generation's routes and backends. Raises what refuses it."""
        loaded = read_worker_snapshot(snapshot)
        self._telemetry.check(loaded.logging)
        self._prepared[generation] = WorkerGeneration(
            generation, loaded, self._current, self._upstream
        )

    def commit(self, generation: int) -> None:
        """Serve by this generation; the former lives while anything may refer to it."""
        chosen = self._prepared.pop(generation)
        self._prepared.clear()
        self._telemetry.configure(chosen.snapshot.logging)
        former, self._current = self._current, chosen
        self._generations[generation] = chosen
        retry = chosen.snapshot.retry
        self._retried.commit(generation, retry, chosen.policies, chosen.snapshot.sources)
        show_expiry(self._telemetry.metrics, [one.listener for one in retry])
        if former is not None:
            former.retired_s = time.monotonic()

    def abandon(self, generation: int) -> None:
        """Forget a generation that is not to serve."""
        abandoned = self._prepared.pop(generation, None)
        if abandoned is not None:
            abandoned.close_unless_used_by(self._generations.values())

    def attach(
        self,
        peer_role: str,
        peer_slot: int,
        incarnation: int,
        descriptor: int,
        lost: Callable[[], None],
    ) -> None:
        """Take connections from this front."""
        self._intake.attach((peer_role, peer_slot), descriptor)

    # --- connections ---------------------------------------------------------------------

    def _check(self, capsule: Capsule) -> DenialReason | None:
        # Of this generation alone: under another one the index may be another name's.
        generation = self._generations.get(capsule.generation)
        context = capsule.context
        if generation is None:
            return DenialReason.UNKNOWN_GENERATION
        if isinstance(context, Retried):
            return self._retried.denial(capsule)
        if context.name_index not in generation.names:
            return DenialReason.UNREADABLE
        return None

    def _serve(self, arrival: Arrival) -> None:
        capsule = arrival.capsule
        if isinstance(capsule.context, Retried):
            self._retried.take(arrival.descriptor, capsule, capsule.context)
        else:
            self._start(arrival.descriptor, capsule.context, capsule.generation)

    def _start(self, descriptor: int, context: Established, number: int) -> None:
        """Serve a client that has replied, to its front or to us."""
        work = self._serve_connection(descriptor, context, self._generations[number])
        self._tasks.start(work, "connection", self._ended)
        self._hold()

    def _clients(self) -> int:
        return len(self._tasks) + len(self._retried)

    def _room(self) -> int:
        """For half-open clients: if all of them reply, each can have one toward its backend."""
        return self._connections_max - len(self._tasks)

    def _hold(self) -> None:
        # Idle clients must not take the descriptors that requests need toward backends.
        self._intake.hold(len(self._tasks) >= self._connections_max)

    async def _serve_connection(
        self, descriptor: int, context: Established, generation: WorkerGeneration
    ) -> None:
        try:
            session = TlsSession(Connection(context), self._ends.tls_failed)
        except Exception:
            close_all((descriptor,))
            raise
        stream = Stream(descriptor, session, unsent=context.unsent)
        generation.connections += 1
        name = generation.names[context.name_index]
        try:
            if name.form is Form.TCP and name.tcp_backend is not None:
                backend = generation.backends[name.tcp_backend]
                idle_s = generation.snapshot.http.tunnel_idle_timeout_s
                self._ends.tcp_ended(name.tcp_backend, await serve_tcp(stream, backend, idle_s))
            else:
                await self._serve_http(stream, context, generation)
        finally:
            stream.abort()  # where a bug of ours has left it open
            generation.connections -= 1

    async def _serve_http(
        self, stream: Stream, context: Established, generation: WorkerGeneration
    ) -> None:
        facts = _facts(stream)
        if facts is None:
            return
        connection = HttpConnection(
            stream,
            facts,
            generation.routes[context.name_index],
            generation.snapshot.http,
            self._observer(context.suite, context.server_name),
        )
        if self._draining:
            connection.drain()
        self._http.add(connection)
        try:
            await connection.run()
        finally:
            self._http.discard(connection)

    def _new_observer(self, suite: CipherSuite, server_name: str | None) -> HttpObserver:
        tls = TlsFacts("1.3", suite.name, server_name)
        return HttpObserver(self._requests, self._telemetry.access, tls)

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._hold()
        if not self._tasks:
            self._empty.set()

    def _refreshed(self) -> None:
        """Credit that was held back for lack of descriptors; generations nobody refers to."""
        self._refresh = self._loop.call_later(_REFRESH_S, self._refreshed)
        self._intake.refresh()
        now = time.monotonic()
        for number, one in list(self._generations.items()):
            if one.unreferred(now):
                del self._generations[number]
                self._retried.forget(number)
                one.close_unless_used_by(self._generations.values())

    # --- reporting and ending ------------------------------------------------------------

    def metrics(self) -> dict[str, Any]:
        """The registry's snapshot."""
        self._upstream.refresh(() if self._current is None else self._current.backends.values())
        return self._telemetry.metrics.snapshot()

    def status(self) -> dict[str, Any]:
        """Facts for people."""
        backends = {} if self._current is None else self._current.backends
        half_open = {"half_open": self._retried.half_open} if self._signs() else {}
        return {
            "generation": 0 if self._current is None else self._current.number,
            **half_open,
            "connections": self._clients(),
            "backends": {
                name: {
                    str(one.server): {
                        "healthy": one.in_rotation,
                        "in_use": one.in_use,
                        "idle": one.idle,
                    }
                    for one in backend.state()
                }
                for name, backend in backends.items()
            },
        }

    def _signs(self) -> bool:
        return self._current is not None and bool(self._current.policies)

    async def drain(self, deadline_s: float) -> None:
        """Deny what is new, let handshakes and requests end, close what is left at the deadline."""
        self._draining = True
        self._intake.drain()
        for connection in list(self._http):
            connection.drain()
        try:
            async with asyncio.timeout(deadline_s):
                await self._left(deadline_s)
        except TimeoutError:
            _log.warning("connections_cut", count=self._clients())
        self._retried.close()
        await self._tasks.cancel()
        self._refresh.cancel()
        self._intake.close()
        self._telemetry.close()

    async def _left(self, deadline_s: float) -> None:
        """Wait until nobody is here: first for those who can still become connections."""
        await self._retried.drained(deadline_s)
        if self._tasks:
            self._empty.clear()
            await self._empty.wait()

    def reopen_logs(self) -> None:
        """Open log files again by name."""
        self._telemetry.reopen()


def _facts(stream: Stream) -> ClientFacts | None:
    """Who the client is, from its socket; None where it has reset the connection.

    Its requests may be here all the same, and nobody could say whose they were.
    """
    try:
        peer, own = stream.addresses
    except OSError:
        return None
    if not isinstance(peer, tuple):
        # A UNIX socket's is its path.
        return ClientFacts(address=None, listener_port=0)
    # Without what concerns this machine alone: how IPv4 is mapped, a link's zone.
    address = peer[0].removeprefix("::ffff:").partition("%")[0]
    return ClientFacts(address=address, port=peer[1], listener_port=own[1])
