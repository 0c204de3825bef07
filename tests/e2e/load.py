"""Load in the background of a test: clients that keep their connections, and new ones all the time.

Every failure is kept with its client, so that a test can say whose failures were to be expected.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from tests.e2e.clients import Client, ClientError
from tests.e2e.conftest import PAGE
from tests.e2e.deployment import LIMIT_S

__all__ = ["ENDED_BETWEEN", "Load"]

ENDED_BETWEEN = re.compile(r"ConnectionResetError|IncompleteReadError\('0 bytes")
"""The error of a client whose connection was closed between two answers: no byte was lost."""

_PAUSE_S = 0.02


@dataclass
class _Member:
    """A client that asks again and again; `changed` is told of each answer."""

    client: Client
    changed: asyncio.Condition
    answers: int = 0
    error: str | None = None

    async def run(self) -> None:
        """Until cancelled, or until something goes wrong."""
        while self.error is None:
            await self.once()
            await asyncio.sleep(_PAUSE_S)  # a client's think time

    async def once(self) -> None:
        """One request."""
        try:
            answer = await self.client.get()
            self.answers += 1
            if answer != (200, PAGE.encode()):
                self.error = repr(answer)
        except ClientError as error:
            self.error = str(error)
        async with self.changed:
            self.changed.notify_all()


@dataclass
class Load:
    """`count` established clients, and one newcomer after the other; `async with` bounds it."""

    port: int
    context: ssl.SSLContext
    count: int
    members: list[_Member] = field(default_factory=list)
    newcomers: list[_Member] = field(default_factory=list)
    certificate: bytes = b""
    """What the newest newcomer was shown, DER."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _may_come: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def lost(self) -> list[_Member]:
        """Established clients that saw an error."""
        return [member for member in self.members if member.error is not None]

    @property
    def refused(self) -> list[_Member]:
        """Newcomers that saw one."""
        return [newcomer for newcomer in self.newcomers if newcomer.error is not None]

    async def progress(self) -> None:
        """Wait until every established client without an error has an answer to a new request, and
        a client that comes from now on has one too."""
        # The request or client that comes next may be under way already.
        marks = [(member, member.answers + 2) for member in self.members]
        newcomers = len(self.newcomers) + 2

        def seen() -> bool:
            return len(self.newcomers) >= newcomers and all(
                member.answers >= mark or member.error is not None for member, mark in marks
            )

        await self._until(seen)

    async def over(self) -> None:
        """Wait until no established client is left without an error."""
        await self._until(lambda: len(self.lost) == self.count)

    async def pause_newcomers(self) -> None:
        """Let nobody come; the one who is under way is waited for."""
        self._may_come.clear()
        async with self._under_way:
            return

    def resume_newcomers(self) -> None:
        """Let them come again."""
        self._may_come.set()

    async def _until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S), self._changed:
            await self._changed.wait_for(seen)

    async def _come(self) -> None:
        while await self._may_come.wait():
            async with self._under_way:
                newcomer = await self._newcomer()
            async with self._changed:
                self.newcomers.append(newcomer)
                self._changed.notify_all()
            await asyncio.sleep(_PAUSE_S)

    async def _newcomer(self) -> _Member:
        newcomer = _Member(Client(self.port, self.context), self._changed)
        try:
            async with newcomer.client as client:
                self.certificate = client.certificate
                await newcomer.once()
        except ClientError as error:
            newcomer.error = str(error)
        return newcomer

    async def __aenter__(self) -> Self:
        clients = [Client(self.port, self.context) for _ in range(self.count)]
        self.members = [_Member(client, self._changed) for client in clients]
        await asyncio.gather(*(client.connect() for client in clients))
        self._tasks = [asyncio.create_task(member.run()) for member in self.members]
        self._tasks.append(asyncio.create_task(self._come()))
        self.resume_newcomers()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in (*self.members, *self.newcomers):
            await one.client.close()
