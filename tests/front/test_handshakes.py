"""Half-open clients on real sockets: who is answered, who is refused how, who is dropped when."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

import pytest

from proxy.front import AnswerPolicy, Handshakes, Stage, handshakes
from proxy.front.endings import Endings
from tests.front.site import Client, ending, reset, settings, site

FAILURES = "vestibule_handshake_failures_total"


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
            await running.until(lambda: running.clients.pending_bytes >= len(hello) - per_record)
            assert len(running.table) == 0
            assert running.count("vestibule_hellos_total") == 0
            await loop.sock_sendall(connection, records[-1])
            await loop.sock_sendall(connection, await client.reply())
            await running.take()
        assert running.clients.pending_bytes == 0


async def test_hello_and_reply_a_byte_at_a_time() -> None:
    async with site() as running:
        with await running.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client, loop = Client(connection), asyncio.get_running_loop()
            for byte in client.hello():
                await loop.sock_sendall(connection, bytes((byte,)))
            for byte in await client.reply():
                await loop.sock_sendall(connection, bytes((byte,)))
            await running.take()


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
            await running.serves()
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
            answer = await ending(connection)
            # The alert is sealed already: its record's type says no more (RFC 8446, 5.2).
            assert bool(answer) == (alert is not None)
        await running.until(lambda: len(running.clients) == 0)
        assert len(running.table) == 0
        assert running.offered.empty()
        assert running.count("vestibule_handshake_failures_total", "reply") == 1
        await running.serves()


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
            await ending(connection)
            assert loop.time() - began >= 0.6
        store = "replies" if said == "the hello" else "hellos"
        assert running.count("vestibule_reaped_total", store) == 1
        assert len(running.clients) == len(running.table) == 0


async def test_the_whole_handshake_has_a_bound_of_its_own() -> None:
    thresholds = settings(hello_timeout_s=5.0, reply_timeout_s=60.0, handshake_timeout_s=0.8)
    async with site(thresholds) as running:
        with await running.connect() as connection:
            client, loop = Client(connection), asyncio.get_running_loop()
            await loop.sock_sendall(connection, client.hello())
            await ending(connection)
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
            assert running.count("vestibule_retries_refused_total", "table_full") == 1
            # The slot's holder is not touched, and its slot serves the next one.
            await loop.sock_sendall(first, reply)
            await running.take()
        await running.serves()


@pytest.mark.patches
async def test_hellos_beyond_a_turns_time_come_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time at all it is one a turn, and whoever has replied does not wait for the rest."""
    monkeypatch.setattr(handshakes, "_HELLOS_PER_TURN_S", -1.0)
    async with site() as running:
        with contextlib.ExitStack() as ends:
            replying = Client(ends.enter_context(await running.admit()))
            replying.connection.send(replying.hello())
            finished = await replying.reply()
            new = [ends.enter_context(await running.admit()) for _ in range(5)]
            for connection in new:
                connection.send(Client(connection).hello())
            replying.connection.send(finished)
            for answered in (1, 2, 3, 4, 5):
                assert running.front.handshakes.turn(time.monotonic()) == []
                assert len(running.table) == answered
                assert len(list(running.clients.in_stage(Stage.OFFERED))) == 1
            await running.until(lambda: not running.offered.empty())
            await running.take()


def _failing(original: Callable[..., None], marked: list[int]) -> Callable[..., None]:
    def failing(self: object, descriptor: int, *rest: object) -> None:
        if descriptor in marked:
            raise RuntimeError("injected")
        original(self, descriptor, *rest)

    return failing


HANDLERS = {
    "_readable": Handshakes,
    "_hello": Handshakes,
    "_first_hello": Handshakes,
    "_second_hello": Handshakes,
    "_answered": Handshakes,
    "_reply": Handshakes,
    "_lend": Handshakes,
    "_gone": Handshakes,
    "_expired": Handshakes,
    "refuse": Endings,
}


@pytest.mark.patches
@pytest.mark.parametrize("handler", HANDLERS)
async def test_one_clients_failure_in_each_handler_costs_only_that_client(
    monkeypatch: pytest.MonkeyPatch, handler: str
) -> None:
    """A bug of ours is raised in every handler of an event, and good clients go on."""
    owner = HANDLERS[handler]
    late = handler == "_expired"
    answer = AnswerPolicy.RETRY if handler == "_second_hello" else AnswerPolicy.DIRECT
    async with site(settings(answer=answer, hello_timeout_s=0.3 if late else 10)) as running:
        victim = await running.admit()
        marked = running.clients.known()
        monkeypatch.setattr(owner, handler, _failing(getattr(owner, handler), marked))
        client = Client(victim)
        if handler == "refuse":
            victim.send(b"\x17\x03\x03\x00\x01\0")
        elif not late:
            victim.send(client.hello())
        if handler == "_second_hello":
            victim.send(await client.again())
        if handler in ("_reply", "_lend"):
            victim.send(await client.reply())
        if handler == "_gone":
            await running.until(lambda: len(running.table) == 1)
            reset(victim)
        else:
            await ending(victim)
            victim.close()
        await running.until(lambda: len(running.clients) == 0)
        marked.clear()
        running.answer(settings())
        await running.serves()
        found = {row[0][2] for row in running.metrics.snapshot()[FAILURES]}
        assert found == {"internal_error"}
        assert running.count(FAILURES) == 1
        assert len(running.table) == 0


@pytest.mark.requirement("A27")
@pytest.mark.parametrize(
    ("data", "alert"),
    [
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", 10, id="cleartext HTTP"),
        pytest.param(b"\x14\x03\x03\x00\x01\x01", 10, id="a CCS before any hello"),
        pytest.param(b"\x16\x03\x01\x00\x00", 10, id="an empty record"),
        pytest.param(b"\x16\x03\x01\x00\x04\x02\0\0\0", 10, id="a ServerHello"),
        pytest.param(b"\x16\x03\x01\x00\x04\x01\x02\x01\x45", 47, id="a hello over the limit"),
        pytest.param(b"\x16\x03\x01\x00\x05\x01\0\0\x01\0", 50, id="a hello of one byte"),
    ],
)
async def test_what_is_no_hello_gets_its_alert(data: bytes, alert: int) -> None:
    async with site() as running:
        with await running.connect() as connection:
            await asyncio.get_running_loop().sock_sendall(connection, data)
            assert await ending(connection) == b"\x15\x03\x03\x00\x02\x02" + bytes((alert,))
        assert len(running.table) == 0
