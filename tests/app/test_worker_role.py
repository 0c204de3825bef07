"""The worker's role in this process: what it takes, what it denies, and when it is full."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from proxy.app.worker_role import WorkerRole, _facts
from proxy.config import Configuration, SnapshotError, worker_snapshot
from proxy.edge import PlainSession, Stream
from proxy.front import AnswerPolicy
from proxy.handoff import (
    Accepted,
    Capsule,
    ChannelSettings,
    DenialReason,
    Denied,
    Offer,
    Source,
    channel_pair,
    encode_capsule,
)
from tests.app.test_retried import LISTENER, redeemed
from tests.config.site import Site, in_days, replaced
from tests.edge.legs import tcp_pair
from tests.front.site import CA, NAME
from tests.front.site import Site as FrontSite
from tests.front.site import site as front_site
from tests.handoff.test_capsule import ESTABLISHED

EXPIRY = "vestibule_certificate_expiry_timestamp_seconds"


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """A role sets up the logs of its process, which is ours."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.root.handlers[:], logging.root.level = handlers, level


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """One listener whose front is keyless."""
    site = Site(tmp_path)
    site.certificate("example.org", CA.issue([NAME], not_after=in_days(60)))
    return site.load(replaced(4, "    answer: retry"))


@pytest.fixture
async def front() -> AsyncIterator[FrontSite]:
    """A keyless front."""
    async with front_site(replace(LISTENER, server_names=())) as running:
        yield running


class Worker:
    """A role that serves generation 1, and a front's end of a channel to it."""

    def __init__(self, configuration: Configuration) -> None:
        self.role = WorkerRole(0)
        self._ended = False
        self.role.prepare(1, worker_snapshot(configuration), ())
        self.role.commit(1)
        ours, theirs = channel_pair()
        self.role.attach("front", 0, 1, theirs.detach(), lambda: None)
        self.source = Source(ours, ChannelSettings())

    async def offer(self, capsule: Capsule, descriptor: int) -> DenialReason | None:
        """Offer a connection; the reason for a denial."""
        await self.until(lambda: self.source.credit > 0)
        self.source.offer(Offer(encode_capsule(capsule), descriptor, 0.0), 0.0)
        assert self.source.flush()
        async with asyncio.timeout(10):
            while True:
                for event in self.source.receive():
                    if isinstance(event, (Accepted, Denied)):
                        os.close(descriptor)
                        return event.reason if isinstance(event, Denied) else None
                await asyncio.sleep(0)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds, looking once after every turn of the loop."""
        async with asyncio.timeout(10):
            while not condition():
                self.source.receive()
                await asyncio.sleep(0)

    async def end(self, deadline_s: float = 0.0) -> None:
        if not self._ended:
            self._ended = True
            await self.role.drain(deadline_s)
            self.source.close()


@pytest.fixture
async def make() -> AsyncIterator[Callable[[Configuration], Worker]]:
    """Starts workers that end with the test."""
    made: list[Worker] = []

    def start(configuration: Configuration) -> Worker:
        made.append(Worker(configuration))
        return made[-1]

    yield start
    for worker in made:
        await worker.end()


Make = Callable[[Configuration], Worker]


async def test_a_client_of_a_keyless_front_is_answered(
    make: Make, configuration: Configuration, front: FrontSite
) -> None:
    worker = make(configuration)
    assert worker.role.status()["half_open"] == 0
    async with redeemed(front) as one:
        capsule = replace(one.capsule, generation=1, listener=0)
        assert await worker.offer(capsule, one.descriptor) is None
        await worker.until(lambda: worker.role.status()["half_open"] == 1)
        assert worker.role.status()["connections"] == 1
        await one.reply()
        await worker.until(lambda: worker.role.status()["half_open"] == 0)
        assert worker.role.status()["connections"] == 1  # it is one that has replied now
    await worker.until(lambda: worker.role.status()["connections"] == 0)


async def test_what_no_front_of_ours_offers_is_denied(
    make: Make, configuration: Configuration, front: FrontSite
) -> None:
    worker = make(configuration)
    async with redeemed(front) as one:
        for generation, listener, reason in (
            (2, 0, DenialReason.UNKNOWN_GENERATION),
            (1, 1, DenialReason.UNREADABLE),
        ):
            capsule = replace(one.capsule, generation=generation, listener=listener)
            assert await worker.offer(capsule, os.dup(one.descriptor)) is reason
        established = Capsule(1, replace(ESTABLISHED, name_index=1))
        found = await worker.offer(established, os.dup(one.descriptor))
        assert found is DenialReason.UNREADABLE
        os.close(one.descriptor)


async def test_a_worker_signs_for_keyless_fronts_alone(
    make: Make, configuration: Configuration, front: FrontSite
) -> None:
    listeners = tuple(
        replace(one, answer=AnswerPolicy.DIRECT) for one in configuration.front.listeners
    )
    worker = make(replace(configuration, front=replace(configuration.front, listeners=listeners)))
    assert "half_open" not in worker.role.status()
    assert worker.role.metrics().get(EXPIRY, []) == []
    async with redeemed(front) as one:
        capsule = replace(one.capsule, generation=1, listener=0)
        assert await worker.offer(capsule, one.descriptor) is DenialReason.UNREADABLE


async def test_expiry_is_shown_by_who_has_the_certificates(
    make: Make, configuration: Configuration
) -> None:
    worker = make(configuration)
    (certificate,) = configuration.front.listeners[0].server_names[0].certificates
    assert worker.role.metrics()[EXPIRY] == [[["public", "example.org"], certificate.not_after_s]]


async def test_a_certificate_that_cannot_be_used_refuses_the_generation(
    make: Make, configuration: Configuration
) -> None:
    worker = make(configuration)
    data = worker_snapshot(configuration).replace(b"LS0t", b"LS0u")
    with pytest.raises((ValueError, SnapshotError)):
        worker.role.prepare(2, data, ())
    assert worker.role.status()["generation"] == 1


async def test_half_open_clients_leave_room_for_those_who_have_replied(
    make: Make,
    configuration: Configuration,
    front: FrontSite,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of eight descriptors four are for clients, those who have replied come first."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8, 8))
    worker = make(configuration)
    monkeypatch.undo()

    async def come(ends: AsyncExitStack) -> DenialReason | None:
        one = await ends.enter_async_context(redeemed(front))
        return await worker.offer(replace(one.capsule, generation=1, listener=0), one.descriptor)

    async def established(ends: AsyncExitStack) -> DenialReason | None:
        client, ours = socket.socketpair()
        ends.callback(client.close)
        idle = replace(ESTABLISHED, name_index=0, unread=b"", unsent=b"")
        return await worker.offer(Capsule(1, idle), ours.detach())

    async with AsyncExitStack() as ends, AsyncExitStack() as silent:
        assert [await established(ends) for _ in range(2)] == [None, None]
        taken = [await come(silent) for _ in range(3)]
        assert taken == [None, None, DenialReason.OVERLOADED]
        assert [await established(ends) for _ in range(2)] == [None, None]
        assert worker.role.status()["connections"] == 6
        # Now it is full: what credit there still is runs out, and there is no more.
        for _ in range(worker.source.credit):
            await come(silent)
        assert worker.source.credit == 0
        await ends.aclose()
        await worker.until(lambda: worker.source.credit > 0)
        assert worker.role.status()["connections"] == 2


async def test_draining_waits_for_half_open_clients_until_the_deadline(
    make: Make, configuration: Configuration, front: FrontSite
) -> None:
    loop = asyncio.get_running_loop()
    worker = make(configuration)
    async with redeemed(front) as one:
        capsule = replace(one.capsule, generation=1, listener=0)
        assert await worker.offer(capsule, one.descriptor) is None
        await worker.until(lambda: worker.role.status()["half_open"] == 1)
        began = loop.time()
        await worker.end(0.3)
        assert loop.time() - began >= 0.3
        await one.closed()


async def test_nobody_is_served_who_has_reset_the_connection() -> None:
    """Its requests may have come with its Finished, and nobody could say from whom they are."""
    near, far = tcp_pair()
    stream = Stream(near.detach(), PlainSession())
    here = _facts(stream)
    assert here is not None
    assert here.address == "127.0.0.1"
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    assert _facts(stream) is None
    stream.abort()
