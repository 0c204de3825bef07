"""The front on real sockets: who is answered, who is handed over, who is dropped and when."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.front import Front, Stage
from proxy.handoff import ChannelSettings, Source, channel_pair
from proxy.tls import ApplicationData, Connection, Established
from tests.certs import ThrowAwayCa
from tests.front.site import CA, NAME, Client, Site, settings, site

REQUEST = b"GET / HTTP/1.1\r\n\r\n"


async def _closed(connection: socket.socket) -> bytes:
    """What still comes until the front closes."""
    loop = asyncio.get_running_loop()
    received = b""
    async with asyncio.timeout(10):
        while True:
            try:
                data = await loop.sock_recv(connection, 65536)
            except ConnectionResetError:
                return received
            if not data:
                return received
            received += data


async def _served(running: Site) -> None:
    """An honest client gets through."""
    with await running.connect() as connection:
        await Client(connection).handshake(REQUEST)
        capsule, descriptor = await asyncio.wait_for(running.offered.get(), 10)
        os.close(descriptor)
        assert isinstance(capsule.context, Established)


@pytest.mark.requirement("A1", "A8", "A9", "A30", "A32", "A35", "A36", "A39", "A41", "A42")
async def test_a_reply_hands_over_the_connection_with_what_came_behind_it() -> None:
    async with site() as running:
        with await running.connect() as connection:
            await Client(connection).handshake(REQUEST)
            capsule, descriptor = await asyncio.wait_for(running.offered.get(), 10)
            context = capsule.context
            assert isinstance(context, Established)
            assert (capsule.generation, context.server_name, context.name_index) == (7, NAME, 0)
            assert Connection(context).receive(b"") == [ApplicationData(REQUEST)]
            assert os.fstat(descriptor)
            os.close(descriptor)
        await running.until(lambda: len(running.front.clients) == 0)
        assert len(running.table) == 0


@pytest.mark.requirement("A11", "A12")
async def test_hellos_are_answered_in_the_order_in_which_they_came() -> None:
    async with site() as running:
        clients = [await running.connect() for _ in range(12)]
        await running.until(lambda: len(running.front.clients) == 12)
        # Another order than that of accepting; the loop does not turn until all have come.
        order = clients[6:] + clients[:6][::-1]
        for connection in order:
            connection.send(Client(connection).hello())
        await running.until(lambda: len(running.table) == 12)
        ports = [int.from_bytes(key[5:7]) for key in running.table.five_tuples()]
        assert ports == [connection.getsockname()[1] for connection in order]
        for connection in clients:
            connection.close()


@pytest.mark.requirement("A3")
@pytest.mark.parametrize("per_record", [1, 7, 100])
async def test_a_hello_in_pieces_is_not_answered_before_it_is_whole(per_record: int) -> None:
    async with site() as running:
        with await running.connect() as connection:
            client = Client(connection)
            hello = client.hello()[5:]
            pieces = [hello[at : at + per_record] for at in range(0, len(hello), per_record)]
            records = [b"\x16\x03\x01" + len(one).to_bytes(2) + one for one in pieces]
            loop = asyncio.get_running_loop()
            for record in records[:-1]:
                await loop.sock_sendall(connection, record)
            await running.until(
                lambda: running.front.clients.pending_bytes >= len(hello) - per_record
            )
            assert len(running.table) == 0
            assert running.count("vestibule_hellos_total") == 0
            await loop.sock_sendall(connection, records[-1])
            await loop.sock_sendall(connection, await client.reply())
            _, descriptor = await asyncio.wait_for(running.offered.get(), 10)
            os.close(descriptor)
        assert running.front.clients.pending_bytes == 0


async def test_hello_and_reply_a_byte_at_a_time() -> None:
    async with site() as running:
        with await running.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client, loop = Client(connection), asyncio.get_running_loop()
            for byte in client.hello():
                await loop.sock_sendall(connection, bytes((byte,)))
            for byte in await client.reply():
                await loop.sock_sendall(connection, bytes((byte,)))
            _, descriptor = await asyncio.wait_for(running.offered.get(), 10)
            os.close(descriptor)


@pytest.mark.requirement("A33", "A34")
@pytest.mark.parametrize(
    "not_a_reply",
    [
        pytest.param(b"\x14\x03\x03\x00\x01\x01", id="ccs"),
        pytest.param(b"\x17\x03\x03\x00", id="half a header"),
    ],
)
async def test_what_is_no_reply_promotes_nothing(not_a_reply: bytes) -> None:
    async with site() as running:
        with await running.connect() as connection:
            client, loop = Client(connection), asyncio.get_running_loop()
            await loop.sock_sendall(connection, client.hello())
            await client.reply()
            await loop.sock_sendall(connection, not_a_reply)
            await _served(running)
            assert len(running.table) == 1
            assert running.offered.empty()


@pytest.mark.parametrize(
    ("data", "alert"),
    [
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x28", None, id="an alert"),
        pytest.param(b"\x16\x03\x03\x00\x04\x14\0\0\0", 10, id="a cleartext Finished"),
        pytest.param(b"\x17\x03\x03\x00\x20" + bytes(32), 20, id="junk"),
        pytest.param(b"\x17\x03\x03\xff\xff", 22, id="a record too long"),
    ],
)
async def test_a_false_reply_ends_the_handshake_and_frees_its_slot(
    data: bytes, alert: int | None
) -> None:
    async with site() as running:
        with await running.connect() as connection:
            client, loop = Client(connection), asyncio.get_running_loop()
            await loop.sock_sendall(connection, client.hello())
            await client.reply()
            await loop.sock_sendall(connection, data)
            answer = await _closed(connection)
            # The alert is sealed already: its record's type says no more (RFC 8446, 5.2).
            assert bool(answer) == (alert is not None)
        await running.until(lambda: len(running.front.clients) == 0)
        assert len(running.table) == 0
        assert running.offered.empty()
        assert running.count("vestibule_handshake_failures_total", "reply") == 1
        await _served(running)


@pytest.mark.requirement("A43")
@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("said", ["nothing", "half a hello", "the hello"])
async def test_a_client_that_leaves_frees_its_slot(how: str, said: str) -> None:
    async with site() as running:
        connection = await running.connect()
        client, loop = Client(connection), asyncio.get_running_loop()
        hello = client.hello()
        await running.until(lambda: len(running.front.clients) == 1)
        if said != "nothing":
            await loop.sock_sendall(connection, hello if said == "the hello" else hello[:50])
            await running.until(
                lambda: (
                    running.count("vestibule_hellos_total") or running.front.clients.pending_bytes
                )
            )
        if how == "half-close":
            connection.shutdown(socket.SHUT_WR)
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if how != "half-close":
            connection.close()
        await running.until(lambda: len(running.front.clients) == 0)
        connection.close()
        assert len(running.table) == 0
        assert running.front.clients.pending_bytes == 0
        await _served(running)


@pytest.mark.requirement("A51", "A52", "A53")
@pytest.mark.parametrize("said", ["nothing", "half a hello", "the hello"])
async def test_silence_is_reaped_at_its_threshold(said: str) -> None:
    thresholds = settings(hello_timeout_s=0.6, reply_timeout_s=0.6, handshake_timeout_s=5.0)
    async with site(thresholds) as running:
        with await running.connect() as connection:
            client, loop = Client(connection), asyncio.get_running_loop()
            hello = client.hello()
            began = loop.time()
            if said != "nothing":
                await loop.sock_sendall(connection, hello if said == "the hello" else hello[:50])
            await _closed(connection)
            assert loop.time() - began >= 0.6
        store = "replies" if said == "the hello" else "hellos"
        assert running.count("vestibule_reaped_total", store) == 1
        assert len(running.front.clients) == len(running.table) == 0


async def test_the_whole_handshake_has_a_bound_of_its_own() -> None:
    thresholds = settings(hello_timeout_s=5.0, reply_timeout_s=60.0, handshake_timeout_s=0.8)
    async with site(thresholds) as running:
        with await running.connect() as connection:
            client, loop = Client(connection), asyncio.get_running_loop()
            await loop.sock_sendall(connection, client.hello())
            await _closed(connection)
        assert running.count("vestibule_reaped_total", "replies") == 1


@pytest.mark.requirement("A4", "A6")
async def test_a_full_table_answers_by_retry_and_then_refuses() -> None:
    async with site(settings(half_open_limit=1)) as running:
        loop = asyncio.get_running_loop()
        first, second = await running.connect(), await running.connect()
        with first, second:
            holder = Client(first)
            await loop.sock_sendall(first, holder.hello())
            reply = await holder.reply()
            late = Client(second)
            await loop.sock_sendall(second, late.hello())
            await running.until(lambda: running.count("vestibule_hellos_total", "retry") == 1)
            assert len(running.table) == 1
            with pytest.raises((ConnectionError, OSError)):
                await late.reply()
            failed = "vestibule_handshake_failures_total"
            assert running.count(failed, "second_hello", "internal_error", "table_full") == 1
            # The slot's holder is not touched, and its slot serves the next one.
            await loop.sock_sendall(first, reply)
            _, descriptor = await asyncio.wait_for(running.offered.get(), 10)
            os.close(descriptor)
        await _served(running)


@pytest.mark.requirement("A4", "A6")
async def test_hellos_that_are_not_whole_share_a_bounded_pool() -> None:
    async with site(settings(partial_hello_limit_bytes=1000)) as running:
        loop = asyncio.get_running_loop()
        clients = [await running.connect() for _ in range(8)]
        for client in clients:
            await loop.sock_sendall(client, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(200))
        failures = "vestibule_handshake_failures_total"
        await running.until(lambda: running.count(failures, "hello", "none", "pool_full") >= 3)
        assert running.front.clients.pending_bytes <= 1000
        await _served(running)
        for client in clients:
            client.close()


@pytest.mark.requirement("A4", "A6")
async def test_whoever_fills_the_pool_leaves_it_to_the_others() -> None:
    async with site(settings(partial_hello_limit_bytes=20_000)) as running:
        loop = asyncio.get_running_loop()
        clients = running.front.clients
        with contextlib.ExitStack() as stack:
            honest = stack.enter_context(await running.connect())
            client = Client(honest)
            hello = client.hello()
            await loop.sock_sendall(honest, hello[:-1])
            await running.until(lambda: clients.pending_bytes == len(hello) - 1)
            for _ in range(3):
                hog = stack.enter_context(await running.connect())
                await loop.sock_sendall(hog, b"\x16\x03\x01\x3f\x00\x01\x00\xff\xfc" + bytes(8000))
            failures = "vestibule_handshake_failures_total"
            await running.until(lambda: running.count(failures, "hello", "none", "pool_full") >= 2)
            assert clients.pending_bytes <= 20_000
            await loop.sock_sendall(honest, hello[-1:])
            await loop.sock_sendall(honest, await client.reply())
            _, descriptor = await asyncio.wait_for(running.offered.get(), 10)
            os.close(descriptor)


@pytest.mark.requirement("A4", "A6")
async def test_replies_that_are_not_whole_are_in_the_pool_too() -> None:
    async with site(settings(partial_hello_limit_bytes=20_000)) as running:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                connection = stack.enter_context(await running.connect())
                client = Client(connection)
                await loop.sock_sendall(connection, client.hello())
                await client.reply()
                await loop.sock_sendall(connection, b"\x17\x03\x03\x40\x00" + bytes(8000))
            failures = "vestibule_handshake_failures_total"
            await running.until(lambda: running.count(failures, "reply", "none", "pool_full") >= 3)
            assert running.front.clients.pending_bytes <= 20_000
            assert len(running.table) <= 1
        await _served(running)


async def test_a_flight_that_the_send_buffer_does_not_take_goes_out_as_it_drains() -> None:
    authority = ThrowAwayCa(issuer=CA, name="x" * 60)
    for _ in range(24):
        authority = ThrowAwayCa(issuer=authority, name="x" * 60)
    issued = authority.issue([NAME])
    base = settings()
    name = base.server_names[0]
    material = replace(name.certificates[0], chain_pem=issued.cert_pem)
    material = replace(material, key=type(material.key)(issued.key_pem))
    async with site(
        replace(base, server_names=(replace(name, certificates=(material,)),))
    ) as running:
        running.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, running.address)
        with connection:
            client = Client(connection)
            await loop.sock_sendall(connection, client.hello())
            await running.until(lambda: running.front.unsent)
            await loop.sock_sendall(connection, await client.reply(REQUEST))
            _, descriptor = await asyncio.wait_for(running.offered.get(), 10)
            os.close(descriptor)
            assert not running.front.unsent


def _failing(original: Callable[..., None], marked: list[int]) -> Callable[..., None]:
    def failing(self: Front, descriptor: int, *rest: object) -> None:
        if descriptor in marked:
            raise RuntimeError("injected")
        original(self, descriptor, *rest)

    return failing


async def test_one_clients_failure_in_each_handler_costs_only_that_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bug of ours is raised in every handler of an event while good clients go on."""
    handlers = ["_readable", "_hello", "_reply", "_offer", "_refuse", "_send"]
    async with site() as running:
        loop = asyncio.get_running_loop()
        for handler in handlers:
            with monkeypatch.context() as patch, await running.connect() as victim:
                await running.until(lambda: len(running.front.clients) == 1)
                marked = running.front.clients.known()
                patch.setattr(Front, handler, _failing(getattr(Front, handler), marked))
                client = Client(victim)
                junk = b"\x17\x03\x03\x00\x01\0"
                await loop.sock_sendall(victim, junk if handler == "_refuse" else client.hello())
                if handler in ("_reply", "_offer"):
                    await loop.sock_sendall(victim, await client.reply())
                await _closed(victim)
                await running.until(lambda: len(running.front.clients) == 0)
                await _served(running)
        failed = "vestibule_handshake_failures_total"
        internal = [
            row for row in running.metrics.snapshot()[failed] if row[0][2] == "internal_error"
        ]
        assert sum(row[1] for row in internal) == len(handlers)
        assert len(running.table) == 0


async def test_running_out_of_descriptors_pauses_accepting_and_is_survived() -> None:
    async with site() as running:
        loop = asyncio.get_running_loop()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        waiting = [await running.connect() for _ in range(4)]
        await running.until(lambda: len(running.front.clients) == 4)
        late = socket.socket()
        late.setblocking(False)
        try:
            highest = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
            holes = []
            try:
                while True:
                    holes.append(os.dup(0))
            except OSError as error:
                assert error.errno == errno.EMFILE
            await loop.sock_connect(late, running.address)
            await running.until(
                lambda: running.count("vestibule_accept_errors_total", "emfile") > 1
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for hole in holes:
                os.close(hole)
        with late:
            client = Client(late)
            await client.handshake(REQUEST)
            _, descriptor = await asyncio.wait_for(running.offered.get(), 10)
            os.close(descriptor)
        for connection in waiting:
            connection.close()


async def test_a_removed_listener_answers_what_was_queued() -> None:
    async with site() as running:
        # Blocking connects: the clients are in the queue before the loop can accept.
        queued = [socket.create_connection(running.address) for _ in range(5)]
        running.front.acceptor.unlisten(running.socket.fileno())
        for connection in queued:
            connection.setblocking(False)
            with connection:
                await Client(connection).handshake(REQUEST)
                _, descriptor = await asyncio.wait_for(running.offered.get(), 10)
                os.close(descriptor)
        with pytest.raises(ConnectionRefusedError):
            await running.connect()


async def test_draining_waits_for_the_last_handshake() -> None:
    async with site() as running:
        with await running.connect() as connection:
            client, loop = Client(connection), asyncio.get_running_loop()
            await loop.sock_sendall(connection, client.hello())
            reply = await client.reply()
            draining = loop.create_task(running.front.drained(30))
            await asyncio.sleep(0)
            assert not draining.done()
            await loop.sock_sendall(connection, reply)
            _, descriptor = await asyncio.wait_for(running.offered.get(), 10)
            os.close(descriptor)
            await asyncio.wait_for(draining, 10)


async def test_replies_wait_for_credit_and_are_dropped_when_no_worker_comes() -> None:
    async with site(channel=ChannelSettings(window=1)) as running:
        loop = asyncio.get_running_loop()
        loop.remove_reader(running.sink.fileno())
        first, second = await running.connect(), await running.connect()
        with first, second:
            await Client(first).handshake()
            await Client(second).handshake()
            await running.until(lambda: running.dispatcher.waiting == 1)
            assert running.front.clients.stage(running.front.clients.known()[0]) == Stage.OFFERED
            running.sink.close()
            await _closed(second)
            await running.until(lambda: len(running.front.clients) == 0)


async def test_the_end_of_a_channel_is_told() -> None:
    async with site() as running:
        ours, theirs = channel_pair()
        lost = asyncio.Event()
        running.front.attach(Source(ours, ChannelSettings()), lost.set)
        assert not lost.is_set()
        theirs.close()
        await asyncio.wait_for(lost.wait(), 10)
        await _served(running)


async def test_a_refused_client_that_resets_is_counted_once() -> None:
    async with site() as running:
        loop = asyncio.get_running_loop()
        connection = await running.connect()
        await loop.sock_sendall(connection, b"GET / HTTP/1.0\r\n\r\n")
        await asyncio.wait_for(loop.sock_recv(connection, 100), 10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        await running.until(lambda: len(running.front.clients) == 0)
        assert running.count("vestibule_handshake_failures_total") == 1


@pytest.mark.requirement("A27")
@pytest.mark.parametrize(
    ("data", "alert"),
    [
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", 10, id="cleartext HTTP"),
        pytest.param(b"\x14\x03\x03\x00\x01\x01", 10, id="a CCS before any hello"),
        pytest.param(b"\x16\x03\x01\x00\x00", 10, id="an empty record"),
        pytest.param(b"\x16\x03\x01\x00\x04\x02\0\0\0", 10, id="a ServerHello"),
        pytest.param(b"\x16\x03\x01\x00\x04\x01\x01\0\0", 47, id="a hello over the limit"),
        pytest.param(b"\x16\x03\x01\x00\x05\x01\0\0\x01\0", 50, id="a hello of one byte"),
    ],
)
async def test_what_is_no_hello_gets_its_alert(data: bytes, alert: int) -> None:
    async with site() as running:
        with await running.connect() as connection:
            await asyncio.get_running_loop().sock_sendall(connection, data)
            assert await _closed(connection) == b"\x15\x03\x03\x00\x02\x02" + bytes((alert,))
        assert len(running.table) == 0
