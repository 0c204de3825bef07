"""An HTTPS backend in the test's own process that answers when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from tests.e2e.conftest import Authority

__all__ = ["SlowBackend"]


class SlowBackend:
    """Sends the head and one half of a body, and the other half once `go` is set."""

    HALVES = (b"first half, ", b"second half")

    def __init__(self) -> None:
        self.port = 0
        self.go = asyncio.Event()
        self.begun = asyncio.Semaphore(0)
        """Released once for each request whose answer has begun."""

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, directory: Path, authority: Authority) -> AsyncIterator[SlowBackend]:
        """One that serves on a port of its own."""
        files = authority.issue(["localhost"]).write(directory, "slow-backend")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        backend = cls()
        server = await asyncio.start_server(backend._serve, "127.0.0.1", 0, ssl=context)
        backend.port = server.sockets[0].getsockname()[1]
        async with server:
            yield backend

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                size = sum(map(len, self.HALVES))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                writer.write(self.HALVES[0])
                await writer.drain()
                self.begun.release()
                await self.go.wait()
                writer.write(self.HALVES[1])
                await writer.drain()
        writer.close()
