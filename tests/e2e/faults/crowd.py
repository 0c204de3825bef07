"""Clients in every state that a connection can be in, and what becomes of each.

Rules: the states are the rows of docs/faults.md, by their words there; a client is *served* when it
gets the whole answer to its request, *closed* when the connection ends instead, and a client that
gets neither fails the test.
"""

from __future__ import annotations

import contextlib
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.e2e.conftest import Backend
from tests.e2e.faults.steps import KeepAlive, StepClient

__all__ = ["ACCEPTED", "ANSWERED", "FLIGHT", "IDLE", "QUEUED", "TRANSFER", "Crowd", "fate"]

QUEUED = "waits in the kernel's queue"
ACCEPTED = "connected, no hello yet"
ANSWERED = "has the answer to its first hello"
FLIGHT = "has the server's flight, has not replied"
IDLE = "established, idle"
TRANSFER = "established, in the middle of an answer"

SERVED, CLOSED = "served", "closed"

_LARGE_BYTES = 24 << 20
"""More than all buffers between nginx and a client that does not read."""
_BUFFER_BYTES = 65536


def fate(client: Callable[[], object]) -> str:
    """How a client that goes on fares."""
    try:
        client()
    except TimeoutError as error:
        raise AssertionError("neither served nor closed") from error
    except OSError:
        return CLOSED
    return SERVED


class Crowd:
    """`count` clients of each state; `with` bounds their lives."""

    def __init__(self, port: int, context: ssl.SSLContext, backend: Backend, count: int) -> None:
        self._port = port
        self._context = context
        self._large = _large_file(backend)
        self._count = count
        self._clients: dict[str, list[Callable[[], object]]] = {}
        self._ends = contextlib.ExitStack()

    @property
    def established(self) -> int:
        """Connections that workers have."""
        return len(self._clients[IDLE]) + len(self._clients[TRANSFER])

    def come(self) -> Self:
        """Bring everybody, but those who queue, to their states."""
        each = range(self._count)
        for _ in each:
            self._add(ACCEPTED, self._step(), lambda one: _ended(one.greet()))
        for _ in each:
            self._add(ANSWERED, self._step().hello().answer(), lambda one: _ended(one.flight()))
        for _ in each:
            self._add(FLIGHT, self._step().greet(), _ended)
        idle = [self._ends.enter_context(KeepAlive(self._port, self._context)) for _ in each]
        for one in idle:
            one.ask()
        self._clients[IDLE] = [one.ask for one in idle]
        self._clients[TRANSFER] = [self._transfer().rest for _ in each]
        return self

    def queue(self) -> None:
        """Let some come who nobody accepts now."""
        for _ in range(self._count):
            waiting = self._step().hello()
            self._add(QUEUED, waiting, lambda one: _ended(one.answer().flight()))

    def fates(self) -> dict[str, Counter[str]]:
        """Let everybody go on, and see."""
        return {state: Counter(map(fate, clients)) for state, clients in self._clients.items()}

    def _step(self) -> StepClient:
        return self._ends.enter_context(StepClient(self._port))

    def _transfer(self) -> KeepAlive:
        client = KeepAlive(self._port, self._context, buffer_bytes=_BUFFER_BYTES)
        return self._ends.enter_context(client).begin(f"/{self._large.name}")

    def _add(self, state: str, client: StepClient, rest: Callable[[StepClient], object]) -> None:
        self._clients.setdefault(state, []).append(lambda: rest(client))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()


def _ended(client: StepClient) -> None:
    assert client.reply().status() == 200


def _large_file(backend: Backend) -> Path:
    path = backend.root / "large"
    if not path.exists():
        path.write_bytes(bytes(_LARGE_BYTES))
    return path
