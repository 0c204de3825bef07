"""A proxy under test between a client and backends that do exactly what the test says.

All three speak over real loopback sockets. A test writes the backend's part as a coroutine that
gets one `Peer` per connection, and holds the client's end as a `Peer` too:

    async with Rig(backend) as rig, rig.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response()).status == 200
        assert (await rig.record()).reason is None

Nothing here waits longer than `PATIENCE_S`. A defect of the proxy fails the test that met it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from proxy.edge import PlainSession, Stream
from proxy.http import (
    ClientFacts,
    HttpConnection,
    HttpSettings,
    RequestRecord,
    Route,
    RouteTable,
)
from proxy.upstream import Backend, BackendSettings, BackendTls, ServerAddress

PATIENCE_S = 10.0

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Reply:
    """One response as a client sees it."""

    status: int
    head: bytes
    body: bytes

    def field(self, name: bytes) -> bytes | None:
        """The value of the only field of that name."""
        values = [
            line.partition(b":")[2].strip()
            for line in self.head.split(b"\r\n")[1:]
            if line.lower().startswith(name.lower() + b":")
        ]
        if len(values) > 1:
            raise AssertionError(f"{name!r} came {len(values)} times")
        return values[0] if values else None


class Peer:
    """One end of a connection: what was received is kept in `received`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.received = b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def flush(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            data = await self.reader.readuntil(mark)
        self.received += data
        return data

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            data = await self.reader.readexactly(count)
        self.received += data
        return data

    async def head(self) -> bytes:
        """A head with its empty line."""
        return await self.until(b"\r\n\r\n")

    async def chunked(self) -> bytes:
        """The payload of a chunked body without trailers."""
        payload = b""
        while size := int(await self.until(b"\r\n"), 16):
            payload += await self.exactly(size)
            assert await self.exactly(2) == b"\r\n"
        assert await self.exactly(2) == b"\r\n"
        return payload

    async def rest(self) -> bytes:
        """Everything up to the end; raises ConnectionError for a reset."""
        async with asyncio.timeout(PATIENCE_S):
            data = await self.reader.read()
        self.received += data
        return data

    async def response(self, *, to_head: bool = False) -> Reply:
        """The next response, interim or final, by its own framing."""
        head = await self.head()
        reply = Reply(int(head.split(b" ", 2)[1]), head, b"")
        if to_head or reply.status < 200 or reply.status in (204, 304):
            return reply
        length = reply.field(b"Content-Length")
        if reply.field(b"Transfer-Encoding") == b"chunked":
            assert length is None
            return replace(reply, body=await self.chunked())
        if length is not None:
            return replace(reply, body=await self.exactly(int(length)))
        return replace(reply, body=await self.rest())

    def end(self) -> None:
        """Half-close."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


Behaviour = Callable[[Peer], Awaitable[None]]


async def answer_ok(peer: Peer) -> None:
    """Answer every request (without body) with OK."""
    while True:
        await peer.head()
        peer.send(OK)


class Rig:
    """The proxy, its observer and one backend group of scripted servers."""

    def __init__(
        self,
        behaviour: Behaviour = answer_ok,
        *,
        settings: HttpSettings | None = None,
        read_timeout_s: float = 60.0,
        write_timeout_s: float = 60.0,
        servers: tuple[str, ...] | None = None,
        buffers: int | None = None,
        preserve_host: bool = True,
        max_connections: int = 10,
        wait_timeout_s: float = 5.0,
        tls: BackendTls | None = None,
    ) -> None:
        self.settings = settings or HttpSettings(lingering_timeout_s=1.0)
        self.backends: list[Peer] = []
        self.connections: list[HttpConnection] = []
        self.defects: list[Exception] = []
        self._behaviour = behaviour
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s
        self._servers = servers
        self._buffers = buffers
        self._preserve_host = preserve_host
        self._max_connections = max_connections
        self._wait_timeout_s = wait_timeout_s
        self._tls = tls or BackendTls()
        self._connected = asyncio.Condition()
        self._records: asyncio.Queue[RequestRecord] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    # Observer

    def request_finished(self, record: RequestRecord) -> None:
        self._records.put_nowait(record)

    def defect(self, error: Exception) -> None:
        self.defects.append(error)

    async def record(self) -> RequestRecord:
        """The next finished request's."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._records.get()

    # Life

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve_backend, "127.0.0.1", 0)
        self.backend_port = self._server.sockets[0].getsockname()[1]
        servers = self._servers or (f"http://127.0.0.1:{self.backend_port}",)
        self.backend = Backend(
            BackendSettings(
                name="app",
                servers=tuple(map(ServerAddress.parse, servers)),
                read_timeout_s=self._read_timeout_s,
                write_timeout_s=self._write_timeout_s,
                connect_timeout_s=2.0,
                max_connections=self._max_connections,
                wait_timeout_s=self._wait_timeout_s,
                tls=self._tls,
            )
        )
        route = Route(
            backend=self.backend, path_prefix="/", host="*", preserve_host=self._preserve_host
        )
        only = Route(backend=self.backend, path_prefix="/only", host="strict")
        self.routes = RouteTable([route, only])
        self._listener = socket.create_server(("127.0.0.1", 0))
        if self._buffers is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffers)
        self._listener.setblocking(False)
        self._spawn(self._accept())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()
        self.backend.close()
        for peer in self.backends:
            await peer.close()
        if kind is None and self.defects:
            raise self.defects[0]

    @contextlib.asynccontextmanager
    async def client(self, *, buffers: int | None = None) -> AsyncIterator[Peer]:
        """A connection to the proxy."""
        sock = socket.socket()
        if buffers is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self._listener.getsockname())
        peer = Peer(*await asyncio.open_connection(sock=sock, limit=1 << 20))
        try:
            yield peer
        finally:
            await peer.close()

    async def served(self) -> None:
        """All client connections have ended on the proxy's side."""
        async with asyncio.timeout(PATIENCE_S):
            while running := [task for task in self._tasks if task.get_name() == "connection"]:
                await asyncio.wait(running)

    async def backend_peer(self, index: int = 0) -> Peer:
        """The backend's end of a connection, once it is there."""
        async with asyncio.timeout(PATIENCE_S), self._connected:
            await self._connected.wait_for(lambda: len(self.backends) > index)
            return self.backends[index]

    @property
    def port(self) -> int:
        """Where the proxy listens."""
        return int(self._listener.getsockname()[1])

    def cancel_connections(self) -> None:
        """As at the end of a drain's time."""
        for task in self._tasks:
            if task.get_name() == "connection":
                task.cancel()

    def _spawn(self, work: Awaitable[None], name: str = "rig") -> None:
        async def run() -> None:
            await work

        task = asyncio.get_running_loop().create_task(run(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, address = await loop.sock_accept(self._listener)
            if self._buffers is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffers)
            connection = HttpConnection(
                Stream(sock.detach(), PlainSession()),
                ClientFacts(address=address[0], port=address[1], scheme="http"),
                self.routes,
                self.settings,
                self,
            )
            self.connections.append(connection)
            self._spawn(connection.run(), "connection")

    async def _serve_backend(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = Peer(reader, writer)
        async with self._connected:
            self.backends.append(peer)
            self._connected.notify_all()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            await self._behaviour(peer)
        with contextlib.suppress(ConnectionError):
            await peer.close()
