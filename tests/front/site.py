"""A front in this process, on real sockets, with the worker's end of its channel in our hands."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from proxy.front import (
    Answerer,
    AnswerPolicy,
    BindAddress,
    CertificateMaterial,
    CookieKeys,
    Family,
    FiveTuples,
    Front,
    FrontMetrics,
    HandshakeTable,
    ListenerSettings,
    Origin,
    Pressure,
    PressureSettings,
    ServerNameSettings,
    Sources,
    SourceSettings,
    build_policy,
)
from proxy.handoff import (
    Capsule,
    ChannelSettings,
    DenialReason,
    Dispatcher,
    DispatcherSettings,
    Offered,
    Sink,
    Source,
    channel_pair,
    decode_capsule,
)
from proxy.telemetry import Metrics
from proxy.tls import Established, Secret, SystemEntropy
from tests.certs import ThrowAwayCa

CA = ThrowAwayCa()
NAME = "front.test"
REQUEST = b"GET / HTTP/1.1\r\n\r\n"
NEVER = 1_000_000
CALM = PressureSettings(half_open=NEVER, lag_s=NEVER, answers_per_s=NEVER)
"""Whatever happens, and however slow the machine is: adaptive listeners answer directly."""


def settings(**changes: object) -> ListenerSettings:
    """Shipped defaults, but for what is named."""
    issued = CA.issue([NAME])
    material = CertificateMaterial(
        chain_pem=issued.cert_pem, key=Secret(issued.key_pem), source="test", not_after_s=0
    )
    base = ListenerSettings(
        name="test",
        bind=(BindAddress(family=Family.INET, host="127.0.0.1"),),
        server_names=(ServerNameSettings(index=0, names=(NAME,), certificates=(material,)),),
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # the caller names real fields


def keyless(**changes: object) -> ListenerSettings:
    """A listener that always retries, as its front has it: without names, certificates or keys."""
    return settings(answer=AnswerPolicy.RETRY, server_names=(), **changes)


class Site:
    """The front, its worker's end, and clients."""

    def __init__(
        self,
        listener: ListenerSettings,
        channel: ChannelSettings,
        pressure: PressureSettings,
        sources: SourceSettings,
    ) -> None:
        self.metrics = Metrics()
        self.dispatcher = Dispatcher(DispatcherSettings(), self.metrics)
        self.table = HandshakeTable(listener.half_open_limit)
        now = asyncio.get_running_loop().time()
        self.pressure = Pressure(pressure, now)
        self.sources = Sources(sources)
        self.front = Front(self.dispatcher, FrontMetrics(self.metrics), self.pressure, self.sources)
        self.clients = self.front.handshakes.clients
        self._entropy = SystemEntropy()
        self._cookie_keys = CookieKeys(self._entropy.random, now)
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address: tuple[str, int] = self.socket.getsockname()
        self.answer(listener)
        self.offered: asyncio.Queue[tuple[Capsule, int]] = asyncio.Queue()
        self.denying: DenialReason | None = None
        ours, theirs = channel_pair()
        self.sink = Sink(theirs, channel)
        asyncio.get_running_loop().add_reader(self.sink.fileno(), self._offers)
        self.sink.flush()
        self.front.attach(Source(ours, channel))

    def answer(self, listener: ListenerSettings) -> None:
        """Let who connects from now on be answered so."""
        self.answerer = Answerer(
            listener,
            build_policy(listener),
            self.table,
            self._cookie_keys,
            self._entropy,
            self.pressure,
            generation=7,
            number=3,
        )
        origin = Origin(FiveTuples(Family.INET, self.socket), self.answerer)
        self.front.acceptor.listen(self.socket, origin)

    def _offers(self) -> None:
        for event in self.sink.receive():
            if not isinstance(event, Offered):
                continue
            if self.denying is not None:
                self.sink.deny(event.id, self.denying)
                self.sink.flush()
                continue
            assert self.sink.accept((event.id,))
            self.offered.put_nowait((decode_capsule(event.payload), event.descriptor))

    async def take(self) -> Capsule:
        """The next client that is offered; its descriptor is closed."""
        capsule, descriptor = await asyncio.wait_for(self.offered.get(), 10)
        os.close(descriptor)
        return capsule

    async def connect(self, source: tuple[str, int] = ("127.0.0.1", 0)) -> socket.socket:
        """A TCP client that has said nothing. A port that it names it may have had before."""
        client = socket.socket()
        client.setblocking(False)
        try:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(source)
            await asyncio.get_running_loop().sock_connect(client, self.address)
        except OSError:
            client.close()
            raise
        return client

    async def admit(self, source: tuple[str, int] = ("127.0.0.1", 0)) -> socket.socket:
        """One that has said nothing and has been accepted."""
        here = len(self.clients)
        client = await self.connect(source)
        await self.until(lambda: len(self.clients) > here)
        return client

    async def ask(self, source: tuple[str, int] = ("127.0.0.1", 0)) -> tuple[Client, bytes]:
        """A client of a listener that retries: it, and its second hello."""
        client = Client(await self.connect(source))
        await asyncio.get_running_loop().sock_sendall(client.connection, client.hello())
        return client, await client.again()

    async def serves(self) -> None:
        """An honest client gets through."""
        with await self.connect() as connection:
            await Client(connection).handshake(REQUEST)
            assert isinstance((await self.take()).context, Established)

    def accept_now(self) -> None:
        """Take who has connected, before any event of those that are here."""
        self.front.acceptor.ready([self.socket.fileno()], time.monotonic())

    def count(self, family: str, *labels: str) -> float:
        """Sum of the family's samples whose labels begin so."""
        rows = self.metrics.snapshot().get(family, [])
        return float(sum(value for names, value in rows if names[: len(labels)] == list(labels)))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds, looking once after every turn of the loop."""
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  what is waited for is plain state
                await asyncio.sleep(0)

    def close(self) -> None:
        """End everything."""
        if self.sink.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.sink.fileno())
            self.sink.close()
        self.front.close()


@asynccontextmanager
async def site(
    listener: ListenerSettings | None = None,
    channel: ChannelSettings | None = None,
    pressure: PressureSettings | None = None,
    sources: SourceSettings | None = None,
) -> AsyncIterator[Site]:
    """A running site."""
    running = Site(
        listener or settings(),
        channel or ChannelSettings(),
        pressure or CALM,
        sources or SourceSettings(),
    )
    try:
        yield running
    finally:
        running.close()


class Client:
    """OpenSSL as a client, over memory, so that a test decides what goes out when."""

    def __init__(self, connection: socket.socket, name: str | None = NAME) -> None:
        self.connection = connection
        context = ssl.create_default_context(cadata=CA.pem.decode())
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = name is not None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def hello(self) -> bytes:
        """The ClientHello's record."""
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    async def again(self) -> bytes:
        """Read a HelloRetryRequest and return the second hello, behind its compatibility CCS."""
        data = await asyncio.wait_for(
            asyncio.get_running_loop().sock_recv(self.connection, 4096), 10
        )
        self._incoming.write(data)
        return self.hello()

    async def reply(self, request: bytes = b"") -> bytes:
        """Read the flight and return Finished, with a request behind it."""
        loop = asyncio.get_running_loop()
        while True:
            data = await asyncio.wait_for(loop.sock_recv(self.connection, 65536), 10)
            if not data:
                raise ConnectionError("closed during the handshake")
            self._incoming.write(data)
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                if owed := self._outgoing.read():
                    await loop.sock_sendall(self.connection, owed)
                continue
            if request:
                self.tls.write(request)
            return self._outgoing.read()

    async def handshake(self, request: bytes = b"") -> None:
        """All of it."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.connection, self.hello())
        await loop.sock_sendall(self.connection, await self.reply(request))


async def ending(connection: socket.socket) -> bytes:
    """What still comes until the server closes, or resets."""
    loop, received = asyncio.get_running_loop(), b""
    async with asyncio.timeout(10):
        while True:
            try:
                data = await loop.sock_recv(connection, 65536)
            except ConnectionResetError:
                return received
            if not data:
                return received
            received += data


def reset(connection: socket.socket) -> None:
    """Leave by RST: the port is free at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
