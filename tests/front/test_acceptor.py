"""Listening sockets: out of descriptors, one slice a turn, and removed without a reset."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import time
from pathlib import Path

import pytest

from proxy.front import AnswerPolicy, Family, FiveTuples, Origin, acceptor
from proxy.tls import Established, Retried
from tests.front.site import REQUEST, Client, Site, keyless, settings, site

SLICE = "_ACCEPTS_PER_TURN_S"


async def test_running_out_of_descriptors_pauses_accepting_and_is_survived() -> None:
    async with site() as running:
        loop = asyncio.get_running_loop()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        waiting = [await running.connect() for _ in range(4)]
        await running.until(lambda: len(running.clients) == 4)
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
            await running.take()
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
                await running.take()
        with pytest.raises(ConnectionRefusedError):
            await running.connect()


def _origin(running: Site) -> Origin:
    """Another one, to see which number is free."""
    return Origin(FiveTuples(Family.INET), running.answerer)


@pytest.mark.patches
async def test_all_that_was_queued_is_taken_however_many_turns_it_would_have_been(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acceptor, SLICE, 0.0)
    async with site(keyless()) as running:
        with contextlib.ExitStack() as ends:
            for _ in range(40):
                queued = ends.enter_context(socket.create_connection(running.address))
                queued.send(Client(queued).hello())
            running.front.acceptor.unlisten(running.socket.fileno())
            assert running.clients.half_open == len(running.clients) == 40
            # Its number is nobody's yet: they keep their origin.
            assert running.clients.enrol(_origin(running)) == 1
        await running.until(lambda: len(running.clients) == 0)
        assert running.clients.enrol(_origin(running)) == 0


@pytest.mark.patches
async def test_a_turn_takes_a_slice_and_tells_for_how_long_it_is_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acceptor, SLICE, 0.0)
    async with site() as running:
        ready, now = running.front.acceptor, time.monotonic()
        with contextlib.ExitStack() as ends:
            for _ in range(3):
                ends.enter_context(socket.create_connection(running.address))
            for came in (1, 2, 3):
                running.accept_now()
                assert len(running.clients) == came
                assert ready.behind_s(now + 100) > 99
            running.accept_now()
            assert ready.behind_s(now + 100) == 0


async def test_another_origin_is_that_of_later_clients_only() -> None:
    async with site() as running:
        with await running.admit() as early, contextlib.ExitStack() as ends:
            running.answer(keyless())
            client, second = await running.ask()
            ends.enter_context(client.connection)
            client.connection.send(second)
            assert isinstance((await running.take()).context, Retried)
            await running.until(lambda: len(running.clients) == 1)
            assert running.clients.enrol(_origin(running)) == 2, "somebody is here of both"
            await Client(early).handshake(REQUEST)
            assert isinstance((await running.take()).context, Established)
            await running.until(lambda: len(running.clients) == 0)
            assert running.clients.enrol(_origin(running)) == 0, "nobody is left of the first"


@pytest.mark.parametrize("answer", [AnswerPolicy.DIRECT, AnswerPolicy.RETRY])
async def test_unix_clients_are_told_apart_though_they_have_no_address(
    tmp_path: Path, answer: AnswerPolicy
) -> None:
    listener = settings(answer=answer)
    async with site(listener) as running:
        path = str(tmp_path / "socket")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen()
        running.front.acceptor.listen(
            listening, Origin(FiveTuples(Family.UNIX, listening), running.answerer)
        )
        with contextlib.ExitStack() as ends:
            clients = []
            for _ in range(3):
                connection = ends.enter_context(socket.socket(socket.AF_UNIX))
                connection.connect(path)
                connection.setblocking(False)
                clients.append(Client(connection))
                connection.send(clients[-1].hello())
            await running.until(lambda: running.clients.half_open == 3)
            for client in reversed(clients):
                retries = answer is AnswerPolicy.RETRY
                following = await (client.again() if retries else client.reply())
                client.connection.send(following)
                context = (await running.take()).context
                assert isinstance(context, Retried if retries else Established)
