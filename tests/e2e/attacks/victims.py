"""Honest clients of a server under attack, in a process of their own, and how long they wait.

    python -m tests.e2e.attacks.victims PORT CA ESTABLISHED REQUESTS_PER_S HANDSHAKES_PER_S

ESTABLISHED connections are kept, each asking so often a second; and so many clients a second come,
complete a handshake, ask once and go. Input lines are JSON, and each is answered by one:

    {"handshakes": N, "requests": M}   the figures of what was due from then on, once there are as
                                       many, or after LONGEST_S
    {"newcomers": false}               nobody comes any more, and whoever came has gone
    {"newcomers": true}                they come again

Rules: a wait begins when somebody is due and not when a slow server lets them begin, and who still
waits at the end counts by how long so far, so that a server that stands still is seen to; an error
is a figure too, of the next measurement if nothing is measured when it happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.e2e.clients import Client, ClientError
from tests.e2e.deployment import LIMIT_S

__all__ = ["LONGEST_S", "Figures", "Pace", "Victims"]

LONGEST_S = 15.0
"""Of a measurement."""

_UNDER_WAY = 256
"""Newcomers at a time: beyond that the server is not slow but gone."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How many honest clients there are, and how busy they are."""

    established: int
    requests_per_s: float
    """Of each."""
    handshakes_per_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; latencies in milliseconds, of handshake and request together for those
    who came."""

    handshakes: int
    requests: int
    errors: list[str]
    """Since the last measurement."""
    handshake_p50_ms: float
    handshake_p99_ms: float
    request_p50_ms: float
    request_p99_ms: float


class Victims:
    """Such a process; `with` bounds its life."""

    def __init__(self, port: int, ca: Path, pace: Pace, *before: str) -> None:
        """`before` is put in front of the command."""
        numbers = (port, ca, pace.established, pace.requests_per_s, pace.handshakes_per_s)
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", "tests.e2e.attacks.victims", *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, handshakes: int, requests: int) -> Figures:
        """Wait until so many have been served, or failed, at most for LONGEST_S."""
        return Figures(**self._ask(handshakes=handshakes, requests=requests))

    @contextlib.contextmanager
    def established_only(self) -> Iterator[None]:
        """Nobody comes meanwhile: what a server then holds is known exactly."""
        self._ask(newcomers=False)
        try:
            yield
        finally:
            self._ask(newcomers=True)

    def _ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=LIMIT_S)


@dataclass
class _Measurement:
    """Everything that was due since it began."""

    began_s: float
    handshakes_ms: list[float] = field(default_factory=list)
    requests_ms: list[float] = field(default_factory=list)

    def note(self, due: float, now: float, *, is_handshake: bool) -> None:
        if due >= self.began_s:
            (self.handshakes_ms if is_handshake else self.requests_ms).append(1000 * (now - due))

    def figures(self, errors: list[str]) -> Figures:
        return Figures(
            len(self.handshakes_ms),
            len(self.requests_ms),
            errors,
            _percentile(self.handshakes_ms, 0.5),
            _percentile(self.handshakes_ms, 0.99),
            _percentile(self.requests_ms, 0.5),
            _percentile(self.requests_ms, 0.99),
        )


class _Clients:
    """All honest clients of this process."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Condition()
        self._measurement = _Measurement(self._loop.time())
        self._errors: list[str] = []
        self._under_way = asyncio.Semaphore(_UNDER_WAY)
        self._newcomers: set[asyncio.Task[None]] = set()
        self._is_open = True
        self._waiting: dict[object, tuple[float, bool]] = {}

    async def measure(self, handshakes: int, requests: int) -> Figures:
        """Of what is due from now on."""
        self._measurement = measurement = _Measurement(self._loop.time())

        def is_enough() -> bool:
            done = len(measurement.handshakes_ms), len(measurement.requests_ms)
            return done[0] >= handshakes and done[1] >= requests

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_S), self._changed:
                await self._changed.wait_for(is_enough)
        for due, is_handshake in self._waiting.values():
            measurement.note(due, self._loop.time(), is_handshake=is_handshake)
        errors, self._errors = self._errors, []
        return measurement.figures(errors)

    async def set_newcomers(self, is_open: bool) -> None:
        """Whether anybody may come; when nobody may, wait for the last to go."""
        self._is_open = is_open
        while self._newcomers and not is_open:
            await asyncio.wait(self._newcomers)

    async def stay(self, per_s: float, delay_s: float) -> None:
        """One established client; it comes again if its connection ends, which is an error."""
        due = self._loop.time() + delay_s
        client = Client(self._port, self._context)
        while True:
            try:
                await client.connect()
                while True:
                    due += 1 / per_s
                    await asyncio.sleep(due - self._loop.time())  # the client's think time
                    await self._timed(due, client.get, is_handshake=False)
            except ClientError as error:
                self._errors.append(f"established: {error}")
                await client.close()

    async def come(self, per_s: float) -> None:
        """One newcomer after the other."""
        due = self._loop.time()
        while True:
            due += 1 / per_s
            await asyncio.sleep(due - self._loop.time())  # until the next one is due
            await self._under_way.acquire()
            if not self._is_open:
                self._under_way.release()
                continue
            task = self._loop.create_task(self._newcomer(due))
            self._newcomers.add(task)
            task.add_done_callback(self._newcomers.discard)

    async def _newcomer(self, due: float) -> None:
        client = Client(self._port, self._context)
        try:
            await self._timed(due, lambda: _whole(client), is_handshake=True)
        except ClientError as error:
            self._errors.append(f"newcomer: {error}")
        finally:
            await client.close()
            self._under_way.release()

    async def _timed(
        self, due: float, serve: Callable[[], Awaitable[object]], *, is_handshake: bool
    ) -> None:
        """Note how long this takes from when it was due, however it ends."""
        me = object()
        self._waiting[me] = due, is_handshake
        try:
            await serve()
        finally:
            del self._waiting[me]
            self._measurement.note(due, self._loop.time(), is_handshake=is_handshake)
            async with self._changed:
                self._changed.notify_all()


async def _whole(client: Client) -> None:
    await client.connect()
    status, _ = await client.get()
    if status != 200:
        raise ClientError(f"status {status}")


def _percentile(waited_ms: list[float], share: float) -> float:
    if not waited_ms:
        return 0.0
    return round(sorted(waited_ms)[int(share * (len(waited_ms) - 1))], 2)


async def _run(port: int, ca: str, pace: Pace) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    clients = _Clients(port, ssl.create_default_context(cafile=ca))
    step_s = 1 / (pace.requests_per_s * pace.established)
    staying = [clients.stay(pace.requests_per_s, k * step_s) for k in range(pace.established)]
    tasks = [loop.create_task(one) for one in (*staying, clients.come(pace.handshakes_per_s))]
    while line := await commands.readline():
        command: dict[str, Any] = json.loads(line)
        answer: dict[str, Any] = {}
        if "newcomers" in command:
            await clients.set_newcomers(command["newcomers"])
        else:
            answer = asdict(await clients.measure(**command))
        print(json.dumps(answer), flush=True)  # noqa: T201
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)


def _main(port: str, ca: str, established: str, requests_per_s: str, per_s: str) -> None:
    pace = Pace(int(established), float(requests_per_s), float(per_s))
    asyncio.run(_run(int(port), ca, pace))


if __name__ == "__main__":
    _main(*sys.argv[1:])
