"""The worker process's role: connections that fronts hand over are served by HTTP or tcp routes."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog

from proxy.app.messages import ListenerSocket
from proxy.app.observers import ConnectionMetrics, HttpObserver, RequestMetrics, UpstreamMetrics
from proxy.app.tasks import Tasks
from proxy.app.telemetry import ProcessTelemetry
from proxy.config import NameSettings, WorkerSnapshot, read_worker_snapshot
from proxy.edge import Stream, TlsSession
from proxy.front import Form
from proxy.handoff import Capsule, ChannelSettings, DenialReason, close_all
from proxy.http import ClientFacts, HttpConnection, Route, RouteTable
from proxy.serve import Arrival, Intake, serve_tcp
from proxy.telemetry import TlsFacts
from proxy.tls import Connection, Established
from proxy.upstream import Backend

__all__ = ["WorkerRole"]

_log = structlog.get_logger("vestibule.worker")

# Beyond the longest handshake: several workers may leave an offer unanswered before it comes here.
_ANSWERS_S = 60.0
_REFRESH_S = 1.0


class _Generation:
    """One configuration as a worker serves it. Connections keep theirs alive."""

    def __init__(
        self,
        number: int,
        snapshot: WorkerSnapshot,
        former: _Generation | None,
        upstream: UpstreamMetrics,
    ) -> None:
        self.number = number
        self.snapshot = snapshot
        self.retired_s: float | None = None
        self.connections = 0
        """Client connections that are served by it."""
        self.names: dict[int, NameSettings] = {one.index: one for one in snapshot.names}
        # A group that did not change keeps its connections, sessions and failure marks.
        known = {} if former is None else former.backends
        self.backends: dict[str, Backend] = {}
        for settings in snapshot.backends:
            present = known.get(settings.name)
            same = present is not None and present.settings == settings
            self.backends[settings.name] = (
                present if present is not None and same else Backend(settings, upstream)
            )
        self.routes: dict[int, RouteTable] = {
            one.index: self._routes(one) for one in snapshot.names if one.form is Form.HTTP
        }

    def _routes(self, name: NameSettings) -> RouteTable:
        return RouteTable(
            Route(
                backend=self.backends[one.backend],
                host=one.host,
                path_prefix=one.path_prefix,
                preserve_host=one.preserve_host,
            )
            for one in name.routes
        )

    def unreferred(self, now: float) -> bool:
        """Whether it is retired, serves nobody, and no handshake that it answered can go on."""
        if self.retired_s is None or self.connections:
            return False
        return now - self.retired_s > self.snapshot.handshake_s + _ANSWERS_S

    def close_unless_used_by(self, others: Iterable[_Generation]) -> None:
        """Close the groups that nobody else has."""
        kept = {id(backend) for other in others for backend in other.backends.values()}
        for backend in self.backends.values():
            if id(backend) not in kept:
                backend.close()


class WorkerRole:
    """One worker process."""

    def __init__(self, slot: int) -> None:
        self._telemetry = ProcessTelemetry("worker", slot)
        self._upstream = UpstreamMetrics(self._telemetry.metrics)
        self._requests = RequestMetrics(self._telemetry.metrics)
        self._ends = ConnectionMetrics(self._telemetry.metrics)
        self._intake = Intake(self._check, self._serve, ChannelSettings())
        self._generations: dict[int, _Generation] = {}
        self._prepared: dict[int, _Generation] = {}
        self._current: _Generation | None = None
        self._connections: dict[asyncio.Task[None], HttpConnection | None] = {}
        # Idle clients must not take the descriptors that requests need toward backends.
        self._clients_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
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
        gauge("vestibule_connections_open", lambda: len(self._connections), "worker")

    # --- configuration -------------------------------------------------------------------

    def prepare(
        self, generation: int, snapshot: bytes, listeners: Sequence[ListenerSocket]
    ) -> None:
        """Build the generation's routes and backends. Raises what refuses it."""
        loaded = read_worker_snapshot(snapshot)
        self._telemetry.check(loaded.logging)
        self._prepared[generation] = _Generation(generation, loaded, self._current, self._upstream)

    def commit(self, generation: int) -> None:
        """Serve by this generation; the former lives while anything may refer to it."""
        chosen = self._prepared.pop(generation)
        self._prepared.clear()
        self._telemetry.configure(chosen.snapshot.logging)
        former, self._current = self._current, chosen
        self._generations[generation] = chosen
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
        if not isinstance(context, Established) or context.name_index not in generation.names:
            return DenialReason.UNREADABLE
        return None

    def _serve(self, arrival: Arrival) -> None:
        generation = self._generations[arrival.capsule.generation]
        task = self._tasks.start(self._serve_connection(arrival, generation), "connection")
        self._connections.setdefault(task, None)
        task.add_done_callback(self._ended)
        self._intake.hold(len(self._connections) >= self._clients_max)

    async def _serve_connection(self, arrival: Arrival, generation: _Generation) -> None:
        context = arrival.capsule.context
        if not isinstance(context, Established):
            raise TypeError("an unchecked capsule")
        try:
            session = TlsSession(Connection(context), self._ends.tls_failed)
        except Exception:
            close_all((arrival.descriptor,))
            raise
        stream = Stream(arrival.descriptor, session, unsent=context.unsent)
        generation.connections += 1
        try:
            await self._serve_stream(stream, generation, context)
        finally:
            stream.abort()  # where a bug of ours has left it open
            generation.connections -= 1

    async def _serve_stream(
        self, stream: Stream, generation: _Generation, context: Established
    ) -> None:
        name = generation.names[context.name_index]
        facts = _facts(stream.descriptor)
        if name.form is Form.TCP and name.tcp_backend is not None:
            backend = generation.backends[name.tcp_backend]
            idle_s = generation.snapshot.http.tunnel_idle_timeout_s
            self._ends.tcp_ended(name.tcp_backend, await serve_tcp(stream, backend, idle_s))
            return
        observer = HttpObserver(
            self._requests,
            self._telemetry.access,
            TlsFacts("1.3", context.suite.name, context.server_name),
        )
        connection = HttpConnection(
            stream, facts, generation.routes[name.index], generation.snapshot.http, observer
        )
        task = asyncio.current_task()
        if task is not None:
            self._connections[task] = connection
        if self._draining:
            connection.drain()
        await connection.run()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task, None)
        self._intake.hold(len(self._connections) >= self._clients_max)
        if not self._connections:
            self._empty.set()

    def _refreshed(self) -> None:
        """Credit that was held back for lack of descriptors; generations nobody refers to."""
        self._refresh = self._loop.call_later(_REFRESH_S, self._refreshed)
        self._intake.refresh()
        now = time.monotonic()
        for number, one in list(self._generations.items()):
            if one.unreferred(now):
                del self._generations[number]
                one.close_unless_used_by(self._generations.values())

    # --- reporting and ending ------------------------------------------------------------

    def metrics(self) -> dict[str, Any]:
        """The registry's snapshot."""
        self._upstream.refresh(() if self._current is None else self._current.backends.values())
        return self._telemetry.metrics.snapshot()

    def status(self) -> dict[str, Any]:
        """Facts for people."""
        backends = {} if self._current is None else self._current.backends
        return {
            "generation": 0 if self._current is None else self._current.number,
            "connections": len(self._connections),
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

    async def drain(self, deadline_s: float) -> None:
        """Deny what is new, let requests end, close what is left at the deadline."""
        self._draining = True
        self._intake.drain()
        for connection in list(self._connections.values()):
            if connection is not None:
                connection.drain()
        if self._connections:
            self._empty.clear()
            try:
                async with asyncio.timeout(deadline_s):
                    await self._empty.wait()
            except TimeoutError:
                _log.warning("connections_cut", count=len(self._connections))
        await self._tasks.cancel()
        self._refresh.cancel()
        self._intake.close()
        self._telemetry.close()

    def reopen_logs(self) -> None:
        """Open log files again by name."""
        self._telemetry.reopen()


def _facts(descriptor: int) -> ClientFacts:
    """Who the client is, from its socket."""
    connection = socket.socket(fileno=descriptor)
    try:
        if connection.family == socket.AF_UNIX:
            return ClientFacts(address=None, listener_port=0)
        host, port = connection.getpeername()[:2]
        return ClientFacts(
            # Without what concerns this machine alone: how IPv4 is mapped, a link's zone.
            address=host.removeprefix("::ffff:").partition("%")[0],
            port=port,
            listener_port=connection.getsockname()[1],
        )
    except OSError:
        # Gone already; serving it will find that out.
        return ClientFacts(address=None, listener_port=0)
    finally:
        connection.detach()
