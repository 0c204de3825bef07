"""The little HTTP that shows that a backend connection works, and a record of what was observed."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from proxy.edge import Stream
from proxy.upstream import BackendSettings, BackendTls, ServerAddress
from tests.certs import ThrowAwayCa
from tests.peers import Peer

SOON_S = 10.0
"""Bounds waits that end by an event; reaching it fails the test."""


async def get(stream: Stream, path: str = "/connection") -> str:
    """GET on a keep-alive connection; the body of a response with Content-Length."""
    await stream.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        received += await _more(stream)
    head, _, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += await _more(stream)
    return body.decode()


async def _more(stream: Stream) -> bytes:
    data = await stream.read(SOON_S)
    assert data, "ended within a response"
    return data


async def eventually(what: Callable[[], bool]) -> None:
    """Turn the loop until it is so; what makes it so must be under way."""
    async with asyncio.timeout(SOON_S):
        while not what():  # noqa: ASYNC110  # what is asked has no event of its own
            await asyncio.sleep(0)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process cannot open one more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def address_of(peer: Peer, scheme: str = "https") -> ServerAddress:
    return ServerAddress.parse(f"{scheme}://{peer.host}:{peer.port}")


def trusting(ca: ThrowAwayCa, *servers: ServerAddress, **more: object) -> BackendSettings:
    """Settings for servers whose certificates come from the authority."""
    settings = {"name": "app", "servers": servers, "tls": BackendTls(ca_pem=ca.pem), **more}
    return BackendSettings(**settings)  # type: ignore[arg-type]


@dataclass
class Record:
    """An observer that remembers."""

    dials: list[tuple[str, str, bool]] = field(default_factory=list)
    """Server, result, resumed."""
    asides: list[tuple[str, float]] = field(default_factory=list)
    returns: list[str] = field(default_factory=list)

    def dialed(
        self, backend: str, server: ServerAddress, result: str, seconds: float, resumed: bool
    ) -> None:
        assert backend == "app"
        assert 0 <= seconds < SOON_S
        self.dials.append((str(server), result, resumed))

    def set_aside(self, backend: str, server: ServerAddress, seconds: float) -> None:
        self.asides.append((str(server), seconds))

    def returned(self, backend: str, server: ServerAddress) -> None:
        self.returns.append(str(server))


class Listening:
    """A server in this process whose connections the test holds in its hands."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )
        self.count = 0
        self.address = ServerAddress.parse("http://localhost")
        self._writers: list[asyncio.StreamWriter] = []

    def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep a new connection for the test."""
        self.count += 1
        self._writers.append(writer)
        self.accepted.put_nowait((reader, writer))

    def close_all(self) -> None:
        """Close whatever is still open."""
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[Listening]:
    """A cleartext server on loopback."""
    held = Listening()
    server = await asyncio.start_server(held.on_connection, "127.0.0.1", port)
    held.address = ServerAddress.parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield held
    finally:
        server.close()
        held.close_all()
        await server.wait_closed()
