"""The worker's half of a keyless front: a real front that has no key, and clients of OpenSSL's."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from proxy.app.retried import RetriedClients
from proxy.config import RetryListener
from proxy.front import AnswerPolicy, ListenerSettings, SourceSettings, build_policy
from proxy.handoff import Capsule, DenialReason
from proxy.telemetry import Metrics
from proxy.tls import ApplicationData, Connection, Established, Retried
from tests.front.site import Client, Site, settings, site

LISTENER = settings(answer=AnswerPolicy.RETRY)
GENERATION = 7
NUMBER = 3
"""The generation that the site's front answers by, and its listener's place in it."""

HALF_OPEN = "vestibule_handshakes_half_open"
REAPED = "vestibule_reaped_total"
FAILURES = "vestibule_handshake_failures_total"


class Worker:
    """The clients of one worker, and those that have been delivered."""

    def __init__(self, clients_max: int = 100) -> None:
        self.metrics = Metrics()
        self.served: asyncio.Queue[tuple[int, Established, int]] = asyncio.Queue()
        self.broken = False
        self.clients = RetriedClients(self._serve, self.metrics, lambda: clients_max)

    def _serve(self, descriptor: int, context: Established, generation: int) -> None:
        if self.broken:
            raise RuntimeError("injected")
        self.served.put_nowait((descriptor, context, generation))

    def commit(self, generation: int, *listeners: ListenerSettings) -> None:
        found = [RetryListener(index=i, listener=one) for i, one in enumerate(listeners, NUMBER)]
        policies = {one.index: build_policy(one.listener) for one in found}
        self.clients.commit(generation, found, policies, SourceSettings())

    def count(self, family: str, *labels: str) -> float:
        """Sum of the family's samples whose labels begin so."""
        rows = self.metrics.snapshot().get(family, [])
        return float(sum(value for names, value in rows if names[: len(labels)] == list(labels)))


class Handover:
    """A client that its front has retried, on its way to a worker."""

    def __init__(self, client: socket.socket, request: bytes) -> None:
        self.client = client
        self._finished = asyncio.ensure_future(self._greet(Client(client), request))
        self.capsule: Capsule
        self.context: Retried
        self.descriptor = -1

    async def _greet(self, tls: Client, request: bytes) -> bytes:
        await asyncio.get_running_loop().sock_sendall(self.client, tls.hello())
        return await tls.reply(request)  # sends the second hello too

    async def arrive(self, front: Site) -> None:
        """Wait for the front's offer."""
        self.capsule, self.descriptor = await asyncio.wait_for(front.offered.get(), 10)
        assert isinstance(self.capsule.context, Retried)
        self.context = self.capsule.context

    def take(self, worker: Worker) -> None:
        assert worker.clients.denial(self.capsule) is None
        worker.clients.take(self.descriptor, self.capsule, self.context)

    async def reply(self) -> None:
        """Verify the flight and finish."""
        finished = await asyncio.wait_for(self._finished, 10)
        await asyncio.get_running_loop().sock_sendall(self.client, finished)

    async def closed(self) -> bytes:
        """What comes until the server's end, for a client that does not look at it."""
        self._finished.cancel()
        loop, received = asyncio.get_running_loop(), b""
        async with asyncio.timeout(10):
            while data := await loop.sock_recv(self.client, 65536):
                received += data
        return received

    def reset(self) -> None:
        """Leave without a word of goodbye."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._finished.cancel()
        self.client.close()

    async def close(self) -> None:
        self._finished.cancel()
        await asyncio.gather(self._finished, return_exceptions=True)
        self.client.close()


@pytest.fixture
async def front() -> AsyncIterator[Site]:
    """A front that was given no name and no certificate."""
    async with site(replace(LISTENER, server_names=())) as running:
        yield running


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """A worker that serves the front's generation."""
    made = Worker()
    made.commit(GENERATION, LISTENER)
    yield made
    made.clients.close()


@asynccontextmanager
async def redeemed(front: Site, request: bytes = b"") -> AsyncIterator[Handover]:
    """A client that has redeemed its cookie."""
    handover = Handover(await front.connect(), request)
    try:
        await handover.arrive(front)
        yield handover
    finally:
        await handover.close()


async def until_half_open(front: Site, worker: Worker, count: int = 1) -> None:
    await front.until(lambda: worker.clients.half_open == count)


async def test_a_client_is_answered_here_and_served_once_it_has_replied(
    front: Site, worker: Worker
) -> None:
    async with redeemed(front, b"GET / HTTP/1.1\r\n\r\n") as one:
        assert (one.capsule.generation, one.capsule.listener) == (GENERATION, NUMBER)
        assert 10 < one.capsule.remaining_s <= LISTENER.handshake_timeout_s
        one.take(worker)
        await one.reply()  # it has verified our certificate
        descriptor, context, generation = await asyncio.wait_for(worker.served.get(), 10)
        assert (descriptor, generation) == (one.descriptor, GENERATION)
        assert (context.server_name, context.name_index) == ("front.test", 0)
        assert len(worker.clients) == 0
        connection = Connection(context)
        os.set_blocking(descriptor, True)
        events = connection.receive(b"") or connection.receive(os.read(descriptor, 65536))
        assert events == [ApplicationData(b"GET / HTTP/1.1\r\n\r\n")]
        os.close(descriptor)
    assert worker.count("vestibule_handshakes_total") == 1
    assert front.count("vestibule_handshakes_total") == 0


@pytest.mark.requirement("A4", "A5")
async def test_until_its_reply_a_client_is_a_table_entry(front: Site, worker: Worker) -> None:
    async with redeemed(front) as one:
        one.take(worker)
        await until_half_open(front, worker)
        assert worker.count(HALF_OPEN) == 1
        assert worker.count(HALF_OPEN + "_limit") == LISTENER.half_open_limit
        assert 0 < worker.count(HALF_OPEN + "_bytes") < 1000
        assert len(worker.clients) == 1
        assert worker.served.empty()
        assert front.count(HALF_OPEN) == len(front.table) == 0
        await one.close()
        await front.until(lambda: len(worker.clients) == 0)
        assert worker.count(HALF_OPEN) == 0
        assert worker.count(FAILURES, "reply") == 1


async def test_each_client_is_served_by_the_generation_that_answered_it(
    front: Site, worker: Worker
) -> None:
    renamed = replace(LISTENER.server_names[0], index=5)
    worker.commit(GENERATION + 1, replace(LISTENER, server_names=(renamed,)))
    for generation, index in ((GENERATION, 0), (GENERATION + 1, 5)):
        async with redeemed(front) as one:
            one.capsule = replace(one.capsule, generation=generation)
            one.take(worker)
            await one.reply()
            descriptor, context, found = await asyncio.wait_for(worker.served.get(), 10)
            assert (found, context.name_index) == (generation, index)
            os.close(descriptor)


async def test_a_client_that_is_here_outlives_its_generation(front: Site, worker: Worker) -> None:
    worker.commit(GENERATION + 1, LISTENER)
    async with redeemed(front) as one:
        one.take(worker)
        await until_half_open(front, worker)
        worker.clients.forget(GENERATION)
        await one.reply()
        descriptor, _, generation = await asyncio.wait_for(worker.served.get(), 10)
        assert generation == GENERATION
        os.close(descriptor)


async def test_a_listener_that_is_not_keyless_gets_no_signature(front: Site) -> None:
    worker = Worker()
    worker.commit(GENERATION)
    async with redeemed(front) as one:
        assert worker.clients.denial(one.capsule) is DenialReason.UNREADABLE
        os.close(one.descriptor)
    worker.clients.close()


@pytest.mark.requirement("A5")
@pytest.mark.parametrize("bound", ["table", "clients"])
async def test_without_room_a_client_is_for_another_worker(front: Site, bound: str) -> None:
    worker = Worker(clients_max=2 if bound == "clients" else 100)
    limit = 2 if bound == "table" else 100
    worker.commit(GENERATION, replace(LISTENER, half_open_limit=limit))
    async with redeemed(front) as one, redeemed(front) as two, redeemed(front) as late:
        for handover in (one, two):
            handover.take(worker)
        # Whether they have been answered yet makes no difference.
        assert worker.clients.denial(late.capsule) is DenialReason.OVERLOADED
        await until_half_open(front, worker, 2)
        assert worker.clients.denial(late.capsule) is DenialReason.OVERLOADED
        await one.close()
        await front.until(lambda: len(worker.clients) == 1)
        late.take(worker)
        await late.reply()
        descriptor, _, _ = await asyncio.wait_for(worker.served.get(), 10)
        os.close(descriptor)
    worker.clients.close()


async def test_a_limit_is_that_of_the_newest_generation(front: Site, worker: Worker) -> None:
    async with redeemed(front) as one, redeemed(front) as late:
        one.take(worker)
        await until_half_open(front, worker)
        worker.commit(GENERATION + 1, replace(LISTENER, half_open_limit=1))
        assert worker.clients.denial(late.capsule) is DenialReason.OVERLOADED
        assert worker.count(HALF_OPEN + "_limit") == 1
        os.close(late.descriptor)


@pytest.mark.requirement("A43")
@pytest.mark.parametrize("remaining_s", [0.0, 0.3])
async def test_time_goes_on_where_it_was(front: Site, worker: Worker, remaining_s: float) -> None:
    """A client has its handshake's time once, however many processes it passes."""
    loop = asyncio.get_running_loop()
    async with redeemed(front) as one:
        one.capsule = replace(one.capsule, remaining_s=remaining_s)
        began = loop.time()
        one.take(worker)
        flight = await one.closed()
        assert loop.time() - began >= remaining_s
        assert bool(flight) == bool(remaining_s)
    store = "replies" if remaining_s else "signatures"
    assert worker.count(REAPED, store) == 1
    assert len(worker.clients) == 0


def broken(context: Retried) -> Iterator[Retried]:
    """What a front would never send, and one that was taken over might."""
    yield replace(context, hello=b"")
    yield replace(context, hello=context.hello[:-1])
    yield replace(context, hello=b"\1\0\0\2\3\3")
    yield replace(context, hello=bytes(len(context.hello)))


async def test_a_hello_that_is_none_costs_its_client_alone(front: Site, worker: Worker) -> None:
    async with redeemed(front) as good:
        for number, context in enumerate(list(broken(good.context)), start=1):
            async with redeemed(front) as one:
                one.context = context
                one.take(worker)
                alert = await one.closed()
                assert alert[:1] == b"\x15"
            await front.until(lambda: len(worker.clients) == 0)
            assert worker.count(FAILURES, "signature") == number
        good.take(worker)
        await good.reply()
        os.close((await asyncio.wait_for(worker.served.get(), 10))[0])


async def test_a_descriptor_that_is_no_socket_is_closed(front: Site, worker: Worker) -> None:
    async with redeemed(front) as one:
        reading, writing = os.pipe()
        worker.clients.take(writing, one.capsule, one.context)
        async with asyncio.timeout(10):
            await asyncio.to_thread(os.read, reading, 1)  # its end
        os.close(reading)
        os.close(one.descriptor)
    assert len(worker.clients) == 0


async def test_who_cannot_be_served_is_closed(front: Site, worker: Worker) -> None:
    worker.broken = True
    async with redeemed(front) as one:
        one.take(worker)
        await one.reply()
        with pytest.raises(OSError):
            assert await one.closed() == b""
            raise ConnectionResetError
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(one.descriptor)
    assert len(worker.clients) == 0


async def test_draining_waits_for_replies_and_no_longer_than_told(
    front: Site, worker: Worker
) -> None:
    loop = asyncio.get_running_loop()
    await worker.clients.drained(10)  # at once
    async with redeemed(front) as silent:
        silent.take(worker)
        await until_half_open(front, worker)
        began = loop.time()
        await worker.clients.drained(0.1)
        assert loop.time() - began >= 0.1
        draining = asyncio.ensure_future(worker.clients.drained(60))
        await silent.close()
        await asyncio.wait_for(draining, 10)
    async with redeemed(front) as one:
        one.take(worker)
        await one.reply()
        await asyncio.wait_for(worker.clients.drained(60), 10)
        os.close(worker.served.get_nowait()[0])


async def test_a_front_that_still_has_its_copy_costs_nobody_his_connection(
    front: Site, worker: Worker
) -> None:
    """It closes that once it has read our acceptance; until then the socket lives on."""
    async with redeemed(front) as former:
        copy = os.dup(former.descriptor)
        former.take(worker)
        await until_half_open(front, worker)
        former.reset()
        await front.until(lambda: len(worker.clients) == 0)
        os.dup2(copy, former.descriptor)  # nobody else gets the number
        async with redeemed(front) as one:
            os.dup2(one.descriptor, former.descriptor)
            os.close(one.descriptor)
            one.descriptor = former.descriptor
            one.take(worker)
            await until_half_open(front, worker)
            await one.reply()
            descriptor, _, _ = await asyncio.wait_for(worker.served.get(), 10)
            os.close(descriptor)
        os.close(copy)
