"""A front in this process, on real sockets, with the worker's end of its channel in our hands."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from proxy.front import (
    Answerer,
    BindAddress,
    CertificateMaterial,
    CookieKeys,
    Family,
    FiveTuples,
    Front,
    FrontMetrics,
    HandshakeTable,
    ListenerSettings,
    ListeningSocket,
    ServerNameSettings,
    build_policy,
)
from proxy.handoff import (
    Capsule,
    ChannelSettings,
    Dispatcher,
    DispatcherSettings,
    Offered,
    Sink,
    Source,
    channel_pair,
    decode_capsule,
    encode_capsule,
)
from proxy.telemetry import Metrics
from proxy.tls import Secret, SystemEntropy
from tests.certs import ThrowAwayCa

CA = ThrowAwayCa()
NAME = "front.test"


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


class Site:
    """The front, its worker's end, and clients."""

    def __init__(self, listener: ListenerSettings, channel: ChannelSettings) -> None:
        self.metrics = Metrics()
        self.dispatcher = Dispatcher(DispatcherSettings(), self.metrics)
        self.table = HandshakeTable(listener.half_open_limit)
        self.front = Front(
            self.dispatcher,
            lambda context, answerer: encode_capsule(Capsule(answerer.generation, context)),
            FrontMetrics(self.metrics),
            reap_interval_s=0.05,
        )
        entropy = SystemEntropy()
        now = asyncio.get_running_loop().time()
        self.answerer = Answerer(
            listener,
            build_policy(listener),
            self.table,
            CookieKeys(entropy.random, now),
            entropy,
            generation=7,
        )
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address: tuple[str, int] = self.socket.getsockname()
        self.front.acceptor.listen(
            ListeningSocket(self.socket, FiveTuples(self.socket, Family.INET), self.answerer)
        )
        self.offered: asyncio.Queue[tuple[Capsule, int]] = asyncio.Queue()
        ours, theirs = channel_pair()
        self.sink = Sink(theirs, channel)
        asyncio.get_running_loop().add_reader(self.sink.fileno(), self._offers)
        self.sink.flush()
        self.front.attach(Source(ours, channel))

    def _offers(self) -> None:
        for event in self.sink.receive():
            if isinstance(event, Offered):
                assert self.sink.accept((event.id,))
                self.offered.put_nowait((decode_capsule(event.payload), event.descriptor))

    async def connect(self) -> socket.socket:
        """A TCP client that has said nothing."""
        client = socket.socket()
        client.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(client, self.address)
        except OSError:
            client.close()
            raise
        return client

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
    listener: ListenerSettings | None = None, channel: ChannelSettings | None = None
) -> AsyncIterator[Site]:
    """A running site."""
    running = Site(listener or settings(), channel or ChannelSettings())
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
