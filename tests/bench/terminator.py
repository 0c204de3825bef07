"""The least that a TLS terminator in Python can be: uvloop's own ssl, and bytes passed on.

    python -m tests.bench.terminator BACKEND_PORT PORT=CERTIFICATE,KEY ...

What it costs is what Vestibule would cost on the usual road: an ssl object and two transports for
each client, and a connection to the backend for each. It parses nothing and limits nothing.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast

import uvloop


class _Leg(asyncio.Protocol):
    """One side of a connection; what comes in goes out on the other, `peer`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: _Leg | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass

    def attach(self, peer: _Leg) -> None:
        """Pass on what has come, and all that comes."""
        self.peer = peer
        for data in self._early:
            self.data_received(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self.peer is None or self.peer.transport is None:
            self._early.append(data)
        else:
            self.peer.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()


class _Client(_Leg):
    """A client's side: once its handshake is done it gets a connection to the backend."""

    def __init__(self, backend_port: int) -> None:
        super().__init__()
        self._backend_port = backend_port
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._dialling = asyncio.ensure_future(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        _, backend = await loop.create_connection(_Leg, "127.0.0.1", self._backend_port)
        backend.attach(self)
        self.attach(backend)
        if self.transport is None and backend.transport is not None:
            backend.transport.close()  # the client left meanwhile


async def _main(backend_port: int, listeners: list[str]) -> None:
    loop = asyncio.get_running_loop()
    for listener in listeners:
        port, _, files = listener.partition("=")
        certificate, _, key = files.partition(",")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        await loop.create_server(
            lambda: _Client(backend_port),
            "127.0.0.1",
            int(port),
            ssl=context,
            ssl_handshake_timeout=600,
            backlog=4096,
        )
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), sys.argv[2:]))
