"""The front on real sockets: what a turn serves first, how adaptive listeners switch, draining."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import pytest

from proxy.front import Answerer, AnswerPolicy, handshakes
from proxy.tls import ApplicationData, Connection, Established
from tests.front.site import CALM, NAME, NEVER, REQUEST, Client, Site, reset, settings, site

HELLOS = "vestibule_hellos_total"
CHANGES = "vestibule_pressure_changes_total"
SOON_PRESSED = replace(CALM, half_open=3, calm_s=0.2)


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
        await running.until(lambda: len(running.clients) == 0)
        assert len(running.table) == 0


@pytest.mark.requirement("A11", "A12")
async def test_hellos_are_answered_in_the_order_in_which_they_came() -> None:
    async with site() as running:
        clients = [await running.connect() for _ in range(12)]
        await running.until(lambda: len(running.clients) == 12)
        # Another order than that of accepting; the loop does not turn until all have come.
        order = clients[6:] + clients[:6][::-1]
        for connection in order:
            connection.send(Client(connection).hello())
        await running.until(lambda: len(running.table) == 12)
        ports = [int.from_bytes(key[5:7]) for key in running.table.five_tuples()]
        assert ports == [connection.getsockname()[1] for connection in order]
        for connection in clients:
            connection.close()


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
            await running.take()
            await asyncio.wait_for(draining, 10)


def _noting(method: str, calls: list[tuple[str, int]]) -> Callable[..., object]:
    """The answerer's method, which also tells that it was called, and for which port's client."""
    original = getattr(Answerer, method)

    def noted(self: Answerer, five_tuple: bytes, *rest: object) -> object:
        calls.append((method, int.from_bytes(five_tuple[5:7])))
        return original(self, five_tuple, *rest)

    return noted


@pytest.mark.patches
@pytest.mark.requirement("A11")
async def test_replies_come_before_second_hellos_and_those_before_first_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within one turn, and against the order in which they came; who has just come is last."""
    calls: list[tuple[str, int]] = []
    pressed = replace(CALM, half_open=1, calm_s=NEVER)
    async with site(pressure=pressed) as running:
        with ExitStack() as ends:
            early = ends.enter_context(await running.admit())
            direct = Client(ends.enter_context(await running.admit()))
            direct.connection.send(direct.hello())
            finished = await direct.reply()
            await running.until(lambda: running.pressure.active)
            returning, second = await running.ask()
            ends.enter_context(returning.connection)
            monkeypatch.setattr(handshakes, "_HELLOS_PER_TURN_S", NEVER)
            for method in ("first_hello", "second_hello", "reply"):
                monkeypatch.setattr(Answerer, method, _noting(method, calls))
            # The loop does not turn until all have come.
            new = ends.enter_context(socket.create_connection(running.address))
            new.sendall(Client(new).hello())
            early.send(Client(early).hello())
            returning.connection.send(second)
            direct.connection.send(finished)
            expected = {
                "reply": direct.connection,
                "second_hello": returning.connection,
                "first_hello": early,
            }
            ports = [(name, one.getsockname()[1]) for name, one in expected.items()]
            await running.until(lambda: len(calls) == 4)
            assert calls == [*ports, ("first_hello", new.getsockname()[1])]
            await running.take()


@pytest.mark.patches
async def test_second_hellos_do_not_keep_first_ones_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where there is no time at all a turn serves one of each, however many cookies came back."""
    calls: list[tuple[str, int]] = []
    pressed = replace(CALM, half_open=1, calm_s=NEVER)
    async with site(pressure=pressed) as running:
        with ExitStack() as ends:
            early = ends.enter_context(await running.admit())
            direct = Client(ends.enter_context(await running.admit()))
            direct.connection.send(direct.hello())
            await running.until(lambda: running.pressure.active)
            asked = [await running.ask() for _ in range(3)]
            for client, _ in asked:
                ends.enter_context(client.connection)
            monkeypatch.setattr(handshakes, "_HELLOS_PER_TURN_S", -1.0)
            for method in ("first_hello", "second_hello"):
                monkeypatch.setattr(Answerer, method, _noting(method, calls))
            # The loop does not turn until all have come.
            for client, second in asked:
                client.connection.send(second)
            early.send(Client(early).hello())
            assert running.front.handshakes.turn(time.monotonic()) == []
            assert [name for name, _ in calls] == ["second_hello", "first_hello"]


async def _flood(running: Site, clients: int) -> list[socket.socket]:
    """Clients that say hello and no more."""
    silent = []
    for _ in range(clients):
        connection = await running.connect()
        connection.send(Client(connection).hello())
        silent.append(connection)
    await running.until(lambda: running.clients.half_open == clients)
    return silent


@pytest.mark.requirement("A30", "A31")
async def test_an_adaptive_listener_retries_under_pressure_and_signs_all_the_same() -> None:
    async with site(pressure=SOON_PRESSED) as running:
        loop = asyncio.get_running_loop()
        for number in (1, 2):
            await running.serves()
            direct = running.count(HELLOS, "direct")
            silent = await _flood(running, 3)
            await running.until(lambda: running.pressure.active)
            assert (running.pressure.reason, running.pressure.entered) == ("half_open", number)
            assert running.count(CHANGES, "began", "half_open") == number
            assert running.count(HELLOS, "direct") == direct + 3

            client, second = await running.ask()
            assert len(running.table) == 3
            assert running.clients.half_open == 4
            client.connection.send(second)
            finished = await client.reply(REQUEST)
            assert len(running.table) == 4, "only a second hello takes a slot"
            client.connection.send(finished)
            context = (await running.take()).context
            assert isinstance(context, Established)
            assert Connection(context).receive(b"") == [ApplicationData(REQUEST)]
            client.connection.close()
            assert running.count(HELLOS, "retry") == number
            assert running.count("vestibule_retries_returned_total") == number

            began = loop.time()
            for connection in silent:
                reset(connection)
            await running.until(lambda: not running.pressure.active)
            assert loop.time() - began >= SOON_PRESSED.calm_s - 0.1
            assert running.count(CHANGES, "ended", "half_open") == number
            assert running.pressure.left == number


async def test_who_waits_for_a_second_hello_keeps_the_pressure_up() -> None:
    """Such clients cost nothing, but without them a flood would end the pressure it makes."""
    async with site(pressure=replace(SOON_PRESSED, calm_s=0.0)) as running:
        silent = await _flood(running, 3)
        await running.until(lambda: running.pressure.active)
        retried = [await running.ask() for _ in range(3)]
        for connection in silent:
            reset(connection)
        await running.until(lambda: len(running.table) == 0)
        assert not running.pressure.look(running.clients.half_open, time.monotonic())
        for client, _ in retried:
            reset(client.connection)
        await running.until(lambda: not running.pressure.active)


@pytest.mark.parametrize("answer", [AnswerPolicy.DIRECT, AnswerPolicy.RETRY])
@pytest.mark.parametrize("end", ["goes on", "leaves", "is refused", "is silent"])
async def test_who_leaves_after_our_answer_is_counted_once_as_having_done_so(
    answer: AnswerPolicy, end: str
) -> None:
    timeout_s = 0.3 if end == "is silent" else 10
    listener = settings(answer=answer, hello_timeout_s=timeout_s, reply_timeout_s=timeout_s)
    async with site(listener) as running:
        connection = await running.connect()
        client = Client(connection)
        connection.send(client.hello())
        following = await (client.reply() if answer is AnswerPolicy.DIRECT else client.again())
        if end == "goes on":
            connection.send(following)
            await running.take()
        elif end == "leaves":
            reset(connection)
        elif end == "is refused":
            connection.send(b"\x16\x03\x03\x00\x04\x14\0\0\0")
        await running.until(lambda: len(running.clients) == 0)
        connection.close()
        pressure = running.pressure
        assert (pressure.answered, pressure.abandoned) == (1, int(end != "goes on"))
