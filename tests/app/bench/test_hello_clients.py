"""Clients that stop after the hello, before a server that does what the test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from proxy.app.bench.hello import HELLO_BYTES, Hellos
from proxy.app.bench.hello_clients import Answers, HelloClients
from tests.e2e.deployment import LIMIT_S

SERVER_HELLO, ALERT = b"\x16\x03\x03\x00\x00", b"\x15\x03\x03\x00\x02\x02\x28"


class Answering:
    """Accepts, reads a whole hello, and answers by what `answer` says of its number."""

    def __init__(self, answer: Callable[[int], bytes]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.hellos: list[bytes] = []
        self.ends: list[str] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client, len(self._threads) - 1))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, number: int) -> None:
        with client:
            hello = client.recv(HELLO_BYTES, socket.MSG_WAITALL)
            self.hellos.append(hello)
            answer = self._answer(number)
            client.sendall(answer)
            if not answer:
                return
            try:
                self.ends.append("closed" if client.recv(1) == b"" else "data")
            except ConnectionResetError:
                self.ends.append("reset")

    def close(self) -> None:
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for thread in self._threads:
            thread.join(LIMIT_S)


@pytest.fixture
def answering() -> Iterator[Callable[[Callable[[int], bytes]], Answering]]:
    made: list[Answering] = []

    def make(answer: Callable[[int], bytes]) -> Answering:
        made.append(Answering(answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[[Callable[[int], bytes]], Answering]


def clients(server: Answering) -> HelloClients:
    return HelloClients(server.port, Hellos("localhost"))


def test_a_flood_says_hello_takes_the_answer_and_resets(answering: Make) -> None:
    server = answering(lambda _: SERVER_HELLO)
    with clients(server) as flood:
        assert flood.run(50, 8, LIMIT_S, hold=False) == Answers(50, 0)
    server.close()
    assert len(set(server.hellos)) == 50
    assert server.ends == ["reset"] * 50


def test_the_silent_stay_until_they_are_released(answering: Make) -> None:
    server = answering(lambda _: SERVER_HELLO)
    with clients(server) as silent:
        assert silent.run(20, 8, LIMIT_S, hold=True) == Answers(20, 0)
        assert server.ends == []
    server.close()
    assert server.ends == ["reset"] * 20


def test_alerts_and_closed_connections_are_failures(answering: Make) -> None:
    answers = (SERVER_HELLO, ALERT, b"")
    server = answering(lambda number: answers[number % 3])
    with clients(server) as flood:
        assert flood.run(30, 8, LIMIT_S, hold=False) == Answers(10, 20)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with HelloClients(port, Hellos("localhost")) as flood:
        assert flood.run(5, 2, LIMIT_S, hold=False) == Answers(0, 5)


def test_time_bounds_a_flood(answering: Make) -> None:
    server = answering(lambda _: SERVER_HELLO)
    with clients(server) as flood:
        answers = flood.run(1 << 30, 4, 0.1, hold=False)
    assert answers.done > 0
    assert answers.failed == 0


def test_a_server_that_does_not_answer_in_time() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as deaf,
        HelloClients(deaf.getsockname()[1], Hellos("localhost")) as flood,
    ):
        assert flood.run(3, 3, 0.1, hold=False) == Answers(0, 3)
