"""The limit per source on real sockets: who is counted, who is closed, and when a place is free.

Every address of 127.0.0.0/8 is this machine's, so clients have as many sources as a test needs.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from proxy.front import AnswerPolicy, Family, FiveTuples, Origin, Sources, SourceSettings
from tests.front.site import CALM, NEVER, Client, Site, ending, reset, settings, site

FAILURES = "vestibule_handshake_failures_total"
ONE, OTHER, EXEMPT = (("127.0.0.2", 0), ("127.0.0.3", 0), ("127.8.0.1", 0))
LIMITED = SourceSettings(half_open_limit=2, exempt=(IPv4Network("127.8.0.0/16"),))
PRESSED = replace(CALM, half_open=1, calm_s=NEVER)


def _turned_away(running: Site) -> float:
    return running.count(FAILURES, "hello", "none", "source_limit")


async def _half_open(running: Site, source: tuple[str, int], ends: ExitStack) -> Client:
    """A client of this source that has been answered."""
    client = Client(ends.enter_context(await running.connect(source)))
    here = running.clients.half_open
    client.connection.send(client.hello())
    await running.until(lambda: running.clients.half_open > here)
    return client


def _are_half_open(running: Site, number: int) -> bool:
    return running.clients.half_open == number


@pytest.mark.requirement("A61")
async def test_only_under_pressure_a_source_has_a_limit_and_the_others_do_not_feel_it() -> None:
    async with site(pressure=replace(PRESSED, half_open=4), sources=LIMITED) as running:
        with ExitStack() as ends:
            for _ in range(4):
                await _half_open(running, ONE, ends)
            assert _turned_away(running) == 0
            await running.until(lambda: running.pressure.active)
            late = ends.enter_context(await running.connect(ONE))
            assert await ending(late) == b""
            assert _turned_away(running) == running.count(FAILURES) == 1
            for source in (OTHER, OTHER, EXEMPT, EXEMPT, EXEMPT):
                await _half_open(running, source, ends)
            assert await ending(ends.enter_context(await running.connect(OTHER))) == b""
            assert _turned_away(running) == 2
            assert len(running.sources) == 3
        await running.until(lambda: len(running.clients) == 0)
        assert len(running.sources) == 0


@pytest.mark.parametrize("end", ["goes on", "leaves", "expires", "is refused, and leaves"])
@pytest.mark.parametrize("answer", [AnswerPolicy.DIRECT, AnswerPolicy.RETRY])
async def test_a_place_is_free_when_its_client_has_gone_on_or_is_gone(
    answer: AnswerPolicy, end: str
) -> None:
    timeout_s = 1.0 if end == "expires" else 10
    listener = settings(answer=answer, reply_timeout_s=timeout_s)
    if answer is AnswerPolicy.RETRY:
        listener = settings(answer=answer, hello_timeout_s=timeout_s)
    async with site(listener, pressure=PRESSED, sources=LIMITED) as running:
        with ExitStack() as ends:
            client = await _half_open(running, ONE, ends)
            retries = answer is AnswerPolicy.RETRY
            following = await (client.again() if retries else client.reply())
            await running.until(lambda: running.pressure.active)
            await _half_open(running, ONE, ends)
            assert await ending(ends.enter_context(await running.connect(ONE))) == b""
            if end == "goes on":
                client.connection.send(following)
                await running.take()
            elif end == "leaves":
                reset(client.connection)
            elif end == "is refused, and leaves":
                client.connection.send(b"\x16\3\3\0\4\x14\0\0\0")
                assert await ending(client.connection)
                client.connection.close()
            await running.until(lambda: len(running.clients) <= 1)
            await _half_open(running, ONE, ends)
            assert _turned_away(running) == 1


async def test_without_a_limit_nobody_is_counted() -> None:
    async with site(pressure=PRESSED) as running:
        with ExitStack() as ends:
            for _ in range(4):
                await _half_open(running, ONE, ends)
            assert running.pressure.active
            assert len(running.sources) == 0


async def test_clients_with_and_without_a_count_may_leave_after_a_reload() -> None:
    async with site(pressure=PRESSED) as running:
        with ExitStack() as ends:
            uncounted = await _half_open(running, ONE, ends)
            running.sources.configure(LIMITED)
            counted = await _half_open(running, ONE, ends)
            reset(uncounted.connection)
            await running.until(lambda: len(running.clients) == 1)
            assert len(running.sources) == 1
            running.sources.configure(SourceSettings())
            await _half_open(running, OTHER, ends)
            assert len(running.sources) == 1
            reset(counted.connection)
            await running.until(lambda: len(running.clients) == 1)
            assert len(running.sources) == 0


async def test_unix_clients_have_no_limit(tmp_path: Path) -> None:
    async with site(pressure=PRESSED, sources=LIMITED) as running:
        path = str(tmp_path / "socket")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen()
        origin = Origin(FiveTuples(Family.UNIX, listening), running.answerer)
        running.front.acceptor.listen(listening, origin)
        with ExitStack() as ends:
            for number in range(1, 5):
                connection = ends.enter_context(socket.socket(socket.AF_UNIX))
                connection.connect(path)
                connection.send(Client(connection).hello())
                await running.until(partial(_are_half_open, running, number))
            assert running.pressure.active
            assert running.count(FAILURES) == len(running.sources) == 0


def test_a_client_that_has_left_cannot_leave_again_and_one_without_a_count_not_at_all() -> None:
    sources, five_tuple = Sources(SourceSettings()), b"\x04" + bytes(12)
    assert sources.enter(1, five_tuple, pressed=True)
    sources.configure(LIMITED)
    for descriptor in (2, 3):
        assert sources.enter(descriptor, five_tuple, pressed=True)
    for descriptor in (1, 2, 2):
        sources.leave(descriptor)
    assert sources.enter(4, five_tuple, pressed=True)
    assert not sources.enter(5, five_tuple, pressed=True)
    for descriptor in (5, 4, 3):
        assert len(sources) == 1
        sources.leave(descriptor)
    assert len(sources) == 0
