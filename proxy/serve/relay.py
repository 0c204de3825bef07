"""Bytes both ways between two streams until both sides have said that they are done.

Serves ``tcp`` routes and upgraded HTTP connections. Rules: a half-close on one side is a
half-close on the other; each direction waits for its own writes, so back-pressure passes through;
silence in both directions ends the relay.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from proxy.edge import Stream, StreamError

__all__ = ["Relay", "RelayBroken"]


class RelayBroken(Exception):
    """One leg broke, or both were silent for too long; ``reason`` is a label that says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Relay:
    """Relays between ``client`` and ``backend``; both stay their owner's to close."""

    __slots__ = ("_active_at", "_backend", "_client", "_idle_timeout_s", "down", "up")

    def __init__(self, client: Stream, backend: Stream, idle_timeout_s: float) -> None:
        self._client = client
        self._backend = backend
        self._idle_timeout_s = idle_timeout_s
        self._active_at = monotonic()
        self.up = 0
        """Bytes from client to backend."""
        self.down = 0
        """Bytes from backend to client."""

    async def run(self) -> None:
        """Until both directions have ended cleanly. Raises RelayBroken."""
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._upward())
                group.create_task(self._downward())
        except ExceptionGroup as failures:
            # Of the group's own frame, which has `failures`; and what is raised in here would
            # have them as its context: both streams would wait for the collector.
            failures.__traceback__ = None
            failure = failures.exceptions[0]
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback has this frame

    async def _upward(self) -> None:
        while data := await self._read(self._client, self._backend, "client"):
            self.up += len(data)
            await self._write(self._backend, data, "backend")
        await self._end(self._backend, "backend")

    async def _downward(self) -> None:
        while data := await self._read(self._backend, self._client, "backend"):
            self.down += len(data)
            await self._write(self._client, data, "client")
        await self._end(self._client, "client")

    async def _read(self, stream: Stream, sink: Stream, leg: str) -> bytes | memoryview:
        """One direction may be silent as long as the other is not."""
        wait_s = self._idle_timeout_s
        while True:
            try:
                data = await stream.read_view(wait_s, sink)
            except TimeoutError:
                wait_s = self._active_at + self._idle_timeout_s - monotonic()
                if wait_s <= 0:
                    raise RelayBroken("idle") from None
            except StreamError as error:
                raise RelayBroken(f"{leg}_{error.reason}") from None
            else:
                self._active_at = monotonic()
                return data

    async def _write(self, stream: Stream, data: bytes | memoryview, leg: str) -> None:
        try:
            await stream.write(data, self._idle_timeout_s)
        except TimeoutError:
            raise RelayBroken(f"{leg}_stalled") from None
        except StreamError as error:
            raise RelayBroken(f"{leg}_{error.reason}") from None
        self._active_at = monotonic()

    async def _end(self, stream: Stream, leg: str) -> None:
        try:
            await stream.close_write(self._idle_timeout_s)
        except TimeoutError:
            raise RelayBroken(f"{leg}_stalled") from None
        except StreamError as error:
            raise RelayBroken(f"{leg}_{error.reason}") from None
