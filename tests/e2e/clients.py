"""A keep-alive HTTPS client, small enough that thousands fit into one test."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Self

from tests.e2e.deployment import LIMIT_S

__all__ = ["Answer", "Client", "ClientError"]

Answer = tuple[int, bytes]
"""Status and body."""


class ClientError(Exception):
    """The connection ended, or said something that is no answer."""


class Client:
    """One connection; `async with` bounds its life."""

    def __init__(self, port: int, context: ssl.SSLContext, *, host: str = "127.0.0.1") -> None:
        self._where = (host, port)
        self._context = context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> None:
        """Connect and complete the handshake. Raises ClientError."""
        try:
            async with asyncio.timeout(LIMIT_S):
                self._streams = await asyncio.open_connection(
                    *self._where, ssl=self._context, server_hostname="localhost"
                )
        except (OSError, TimeoutError) as error:
            raise ClientError(f"connect: {error!r}") from error

    @property
    def writer(self) -> asyncio.StreamWriter:
        """The sending half, for what is no ordinary request."""
        return self._open()[1]

    @property
    def certificate(self) -> bytes:
        """The server's certificate, DER."""
        tls: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        found = tls.getpeercert(binary_form=True)
        assert found is not None
        return found

    async def get(self, path: str = "/") -> Answer:
        """One request and its answer. Raises ClientError."""
        await self.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return await self.answer()

    async def send(self, data: bytes) -> None:
        """Bytes as they are. Raises ClientError."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as error:
            raise ClientError(f"send: {error!r}") from error

    async def answer(self) -> Answer:
        """The next answer, delimited by Content-Length. Raises ClientError."""
        reader, _ = self._open()
        try:
            async with asyncio.timeout(LIMIT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                first, *fields = head.decode("latin-1").split("\r\n")
                named = dict(field.lower().split(": ", 1) for field in fields if field)
                body = await reader.readexactly(int(named["content-length"]))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise ClientError(f"answer: {error!r}") from error
        return int(first.split()[1]), body

    async def end(self) -> bytes:
        """What still comes until the server ends the connection."""
        reader, _ = self._open()
        async with asyncio.timeout(LIMIT_S):
            return await reader.read()

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is None:
            return
        writer = self._streams[1]
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LIMIT_S):
                await writer.wait_closed()
        self._streams = None

    def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._streams is not None
        return self._streams

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
