"""Clients that leave, at every point of a handshake: all they held is free, and theirs alone.

Whoever comes next may have the same descriptor, or the same address and port.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from proxy.front import AnswerPolicy, SourceSettings, Stage
from proxy.tls import Established, Retried
from tests.front.site import REQUEST, Client, Site, reset, settings, site

FAILURES = "vestibule_handshake_failures_total"
JUNK = b"\x17\x03\x03\x00\x20" + bytes(32)
HALF_A_RECORD = b"\x17\x03\x03\x00\x20" + bytes(10)
FOREVER_S = 1e6


async def _nothing(_: Client) -> None:
    """Connect."""


async def _half_a_hello(client: Client) -> None:
    client.connection.send(client.hello()[:50])


async def _the_hello(client: Client) -> None:
    client.connection.send(client.hello())


async def _half_a_reply(client: Client) -> None:
    client.connection.send(client.hello())
    await client.reply()
    client.connection.send(HALF_A_RECORD)


async def _junk(client: Client) -> None:
    client.connection.send(client.hello())
    await client.reply()
    client.connection.send(JUNK)


async def _half_a_second_hello(client: Client) -> None:
    client.connection.send(client.hello())
    client.connection.send((await client.again())[:50])


Say = Callable[[Client], Awaitable[None]]
POINTS: dict[str, tuple[AnswerPolicy, Say, Stage]] = {
    "silent": (AnswerPolicy.DIRECT, _nothing, Stage.HELLO),
    "half a hello": (AnswerPolicy.DIRECT, _half_a_hello, Stage.HELLO),
    "half a reply": (AnswerPolicy.DIRECT, _half_a_reply, Stage.REPLY),
    "answered": (AnswerPolicy.DIRECT, _the_hello, Stage.REPLY),
    "refused": (AnswerPolicy.DIRECT, _junk, Stage.LINGER),
    "retried": (AnswerPolicy.RETRY, _the_hello, Stage.SECOND_HELLO),
    "half a second hello": (AnswerPolicy.RETRY, _half_a_second_hello, Stage.SECOND_HELLO),
}


def _until_there(running: Site, point: str) -> Callable[[], bool]:
    """Whether the one client has come to this point."""
    stage, half = POINTS[point][2], point.startswith("half")

    def there() -> bool:
        known = running.clients.known()
        arrived = [running.clients.stage(number) for number in known] == [stage]
        return arrived and bool(running.clients.pending_bytes) == half

    return there


def _leave(connection: socket.socket, how: str) -> None:
    if how == "resets":
        reset(connection)
    elif how == "closes":
        connection.close()
    else:
        connection.shutdown(socket.SHUT_WR)


@pytest.mark.requirement("A43")
@pytest.mark.parametrize("how", ["closes", "resets", "half-closes"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_client_that_leaves_frees_all_it_held(how: str, point: str) -> None:
    answer, say, stage = POINTS[point]
    limited = SourceSettings(half_open_limit=5)
    async with site(settings(answer=answer), sources=limited) as running:
        connection = await running.connect()
        await say(Client(connection))
        await running.until(_until_there(running, point))
        assert len(running.sources) == 1
        number = running.clients.known()[0]
        _leave(connection, how)
        await running.until(lambda: len(running.clients) == 0)
        connection.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
        assert len(running.table) == running.clients.pending_bytes == len(running.sources) == 0
        # Neither is a deadline left, which the next client with this number would meet.
        running.front.handshakes.expire(time.monotonic() + FOREVER_S)
        assert running.count("vestibule_reaped_total") == 0
        counted = "reply" if stage is Stage.LINGER else stage.name.lower()
        assert running.count(FAILURES) == running.count(FAILURES, counted) == 1


@pytest.mark.parametrize("point", POINTS)
async def test_the_next_client_with_a_number_has_nothing_of_the_former(point: str) -> None:
    answer, say, _ = POINTS[point]
    async with site(settings(answer=answer)) as running:
        connection = await running.connect()
        await say(Client(connection))
        await running.until(_until_there(running, point))
        former = running.clients.known()
        reset(connection)
        with await running.connect() as honest:
            await running.until(lambda: running.count(FAILURES) or point == "refused")
            await running.until(lambda: list(running.clients.in_stage(Stage.HELLO)))
            assert running.clients.known() == former
            client = Client(honest)
            honest.send(client.hello())
            following = await (
                client.again() if answer is AnswerPolicy.RETRY else client.reply(REQUEST)
            )
            honest.send(following)
            await running.take()


async def test_who_has_left_is_not_answered_any_more() -> None:
    async with site() as running:
        connection = await running.admit()
        connection.send(Client(connection).hello())
        reset(connection)
        await running.until(lambda: len(running.clients) == 0)
        assert running.count("vestibule_hellos_total") == 0
        assert running.count(FAILURES, "hello", "none", "econnreset") == 1


async def test_who_is_on_offer_is_not_touched_when_it_leaves() -> None:
    async with site() as running:
        asyncio.get_running_loop().remove_reader(running.sink.fileno())
        connection = await running.connect()
        await Client(connection).handshake(REQUEST)
        await running.until(lambda: list(running.clients.in_stage(Stage.OFFERED)))
        number = running.clients.known()[0]
        reset(connection)
        other = await _half_open(running)
        running.front.handshakes.expire(time.monotonic() + FOREVER_S)
        assert running.clients.stage(number) == Stage.OFFERED
        assert os.fstat(number)
        assert running.count(FAILURES) == 0
        running.dispatcher.settings = replace(running.dispatcher.settings, waiting_timeout_s=0.0)
        running.sink.close()
        await running.until(lambda: len(running.clients) == 0)
        other.connection.close()


# --- the same address and port again -----------------------------------------------------


async def _half_open(running: Site) -> Client:
    """A client that has been answered."""
    client = Client(await running.connect())
    here = len(running.table)
    client.connection.send(client.hello())
    await running.until(lambda: len(running.table) > here)
    return client


def _come_again(running: Site, former: socket.socket) -> Client:
    """Leave and say hello from the same port; the loop does not turn, and so has seen neither."""
    source = former.getsockname()
    reset(former)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.bind(source)
    connection.connect(running.address)
    connection.setblocking(False)
    client = Client(connection)
    connection.send(client.hello())
    return client


async def _finishes(running: Site, client: Client) -> None:
    client.connection.send(await client.reply(REQUEST))
    assert isinstance((await running.take()).context, Established)
    client.connection.close()


@pytest.mark.requirement("A7", "A61")
@pytest.mark.parametrize("first_seen", ["that it left", "that it is back"])
async def test_a_client_may_come_again_from_its_port(first_seen: str) -> None:
    async with site() as running:
        former = await _half_open(running)
        client = _come_again(running, former.connection)
        if first_seen == "that it is back":
            running.accept_now()
            assert running.count(FAILURES, "reply", "none", "reconnected") == 1
        await _finishes(running, client)
        assert running.count(FAILURES) == 1
        await running.until(lambda: len(running.clients) == 0)
        assert len(running.table) == 0


async def test_who_was_refused_may_come_again_from_its_port() -> None:
    async with site() as running:
        former = Client(await running.connect())
        await _junk(former)
        await running.until(_until_there(running, "refused"))
        client = _come_again(running, former.connection)
        running.accept_now()
        await running.until(lambda: len(running.clients) == 1)
        await _finishes(running, client)


async def test_who_was_retried_may_come_again_from_its_port() -> None:
    async with site(settings(answer=AnswerPolicy.RETRY)) as running:
        former = Client(await running.connect())
        await _the_hello(former)
        await running.until(_until_there(running, "retried"))
        client = _come_again(running, former.connection)
        running.accept_now()
        assert running.clients.half_open == 2
        client.connection.send(await client.again())
        assert isinstance((await running.take()).context, Retried)
        client.connection.close()
        await running.until(lambda: len(running.clients) == 0)
        assert running.count(FAILURES) == 1


async def test_coming_again_does_not_end_a_loan() -> None:
    """The port has been on offer, half-open, and is back: three connections with one key."""
    async with site() as running:
        asyncio.get_running_loop().remove_reader(running.sink.fileno())
        lent = Client(await running.connect())
        await lent.handshake(REQUEST)
        await running.until(lambda: list(running.clients.in_stage(Stage.OFFERED)))
        number = running.clients.known()[0]
        second = _come_again(running, lent.connection)
        await running.until(lambda: len(running.table) == 1)
        third = _come_again(running, second.connection)
        running.accept_now()
        assert running.clients.stage(number) == Stage.OFFERED
        assert os.fstat(number)
        assert running.count(FAILURES, "reply", "none", "reconnected") == 1
        third.connection.send(await third.reply(REQUEST))
        offered = running.clients.in_stage
        await running.until(lambda: len(list(offered(Stage.OFFERED))) == 2)
        third.connection.close()


async def test_who_resets_before_it_is_accepted_is_answered_and_abandoned() -> None:
    """Its hello can still be read, and costs a signature: pressure has to hear of it."""
    async with site() as running:
        for _ in range(3):
            client = socket.create_connection(running.address)
            client.send(Client(client).hello())
            reset(client)
        await running.until(lambda: running.count(FAILURES) == 3)
        assert (running.pressure.answered, running.pressure.abandoned) == (3, 3)
        assert len(running.clients) == len(running.table) == 0
