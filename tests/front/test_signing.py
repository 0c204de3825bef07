"""The worker's side of a keyless front: real clients that a real front has retried are answered."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from proxy.front import (
    Answerer,
    AnswerPolicy,
    CookieKeys,
    FrontMetrics,
    HandshakeTable,
    ListenerSettings,
    Origin,
    Pressure,
    PressureSettings,
    Signing,
    Sources,
    SourceSettings,
    Stage,
    build_policy,
    signing,
)
from proxy.telemetry import Metrics
from proxy.tls import ApplicationData, Connection, Established, Retried, SystemEntropy, TlsContext
from proxy.wire import NamedGroup
from tests.front.site import NAME, REQUEST, Client, Site, ending, keyless, reset, settings, site

FAILURES = "vestibule_handshake_failures_total"
REAPED = "vestibule_reaped_total"
LIMIT = 4
LISTENER = settings(answer=AnswerPolicy.RETRY, half_open_limit=LIMIT)


class Signer:
    """A worker's half-open clients, and whom they have become."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.sources = Sources(SourceSettings())
        self.signing = Signing(self._deliver, FrontMetrics(self.metrics), self.sources)
        self.clients = self.signing.handshakes.clients
        self.table = HandshakeTable(LIMIT)
        self.answerer = self.make(LISTENER)
        self.number = self.signing.enrol(self.answerer)
        self.delivered: asyncio.Queue[tuple[int, Established, float]] = asyncio.Queue()

    def make(self, listener: ListenerSettings) -> Answerer:
        """Who answers this listener's clients."""
        entropy = SystemEntropy()
        return Answerer(
            listener,
            build_policy(listener),
            self.table,
            CookieKeys(entropy.random, 0.0),
            entropy,
            Pressure(PressureSettings(), 0.0),
            generation=7,
        )

    def _deliver(
        self, descriptor: int, context: TlsContext, origin: Origin, remaining_s: float, _: float
    ) -> None:
        assert isinstance(context, Established)
        assert origin.answerer.generation == 7
        assert self.clients.stage(descriptor) == Stage.OFFERED
        self.delivered.put_nowait((descriptor, context, remaining_s))

    def count(self, family: str, *labels: str) -> float:
        """Sum of the family's samples whose labels begin so."""
        rows = self.metrics.snapshot().get(family, [])
        return float(sum(value for names, value in rows if names[: len(labels)] == list(labels)))

    async def finishes(self, client: Client) -> None:
        """This client's handshake does; what it sent behind its Finished is there."""
        client.connection.send(await client.reply(REQUEST))
        descriptor, context, _ = await asyncio.wait_for(self.delivered.get(), 10)
        assert Connection(context).receive(b"") == [ApplicationData(REQUEST)]
        self.signing.release(descriptor)
        os.close(descriptor)


class Redeemed:
    """A client that has been retried, and the descriptor that its front has given away."""

    def __init__(self, client: Client, descriptor: int, context: Retried, left_s: float) -> None:
        self.client = client
        self.connection = client.connection
        self.descriptor = descriptor
        self.context = context
        self.left_s = left_s

    def sign(self, signer: Signer) -> None:
        """Have it answered."""
        signer.signing.sign(self.descriptor, signer.number, self.context, self.left_s)


@pytest.fixture
async def front() -> AsyncIterator[Site]:
    """It has no key."""
    async with site(keyless()) as running:
        yield running


@pytest.fixture
async def signer() -> AsyncIterator[Signer]:
    """One with room for a few."""
    made = Signer()
    yield made
    made.signing.close()


@asynccontextmanager
async def redeemed(
    front: Site, source: tuple[str, int] = ("127.0.0.1", 0)
) -> AsyncIterator[Redeemed]:
    """One client that the front has on offer, and has given."""
    client, second = await front.ask(source)
    with client.connection as connection:
        connection.send(second)
        capsule, descriptor = await asyncio.wait_for(front.offered.get(), 10)
        assert isinstance(capsule.context, Retried)
        yield Redeemed(client, descriptor, capsule.context, capsule.remaining_s)


def _closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


@pytest.mark.requirement("A5", "A9", "A31")
async def test_a_client_is_answered_here_and_delivered_when_it_has_replied(
    front: Site, signer: Signer
) -> None:
    async with redeemed(front) as one:
        one.sign(signer)
        assert len(signer.signing) == 1
        assert signer.clients.stage(one.descriptor) == Stage.FREE, "not in this turn"
        await front.until(lambda: len(signer.table) == 1)
        assert signer.clients.stage(one.descriptor) == Stage.REPLY
        assert len(signer.signing) == 1
        one.connection.send(await one.client.reply(REQUEST))
        descriptor, context, _ = await asyncio.wait_for(signer.delivered.get(), 10)
        assert descriptor == one.descriptor
        assert (context.server_name, context.group) == (NAME, NamedGroup.X25519)
        assert Connection(context).receive(b"") == [ApplicationData(REQUEST)]
        assert len(signer.table) == 0
        assert len(signer.signing) == 1, "lent"
        signer.signing.release(descriptor)
        assert len(signer.signing) == 0
        os.close(descriptor)
    assert signer.count("vestibule_handshakes_total", "1.3") == 1
    assert signer.count(FAILURES) == signer.count(REAPED) == 0


@pytest.mark.requirement("A4", "A5")
async def test_those_who_wait_for_their_answer_take_room_too(front: Site, signer: Signer) -> None:
    full = signer.signing.full
    async with AsyncExitStack() as ends:
        clients = [await ends.enter_async_context(redeemed(front)) for _ in range(LIMIT + 1)]
        *fitting, late = clients
        for one in fitting:
            assert not full(signer.answerer)
            one.sign(signer)
        assert full(signer.answerer)
        await front.until(lambda: len(signer.table) == LIMIT)
        assert full(signer.answerer)
        # Who comes all the same is told, and nobody who was here before has to go.
        late.sign(signer)
        assert await ending(late.connection) == b"\x15\3\3\0\2\2\x50"
        assert signer.count(FAILURES, "signature", "internal_error", "table_full") == 1
        for one in fitting:
            await signer.finishes(one.client)
        assert not full(signer.answerer)


@pytest.mark.requirement("A52", "A53")
async def test_who_has_no_time_left_is_not_signed_for(front: Site, signer: Signer) -> None:
    async with redeemed(front) as one, redeemed(front) as other:
        one.left_s = 0.0
        one.sign(signer)
        other.sign(signer)
        assert await ending(one.connection) == b""
        assert signer.count(REAPED, "signatures") == signer.count(REAPED) == 1
        await signer.finishes(other.client)


@pytest.mark.requirement("A52", "A53")
@pytest.mark.parametrize("bound", ["the reply's", "the handshake's"])
async def test_a_reply_has_the_shorter_of_its_own_time_and_what_is_left(
    front: Site, signer: Signer, bound: str
) -> None:
    loop = asyncio.get_running_loop()
    if bound == "the reply's":
        signer.number = signer.signing.enrol(signer.make(replace(LISTENER, reply_timeout_s=0.4)))
    async with redeemed(front) as one:
        one.left_s = 0.4 if bound == "the handshake's" else 10
        began = loop.time()
        one.sign(signer)
        assert await ending(one.connection)
        assert loop.time() - began >= 0.4
        assert signer.count(REAPED, "replies") == signer.count(REAPED) == 1
        assert len(signer.signing) == len(signer.table) == 0


@pytest.mark.parametrize("how", ["resets", "closes"])
async def test_who_left_before_its_turn_costs_nobody_else(
    front: Site, signer: Signer, how: str
) -> None:
    async with redeemed(front) as one, redeemed(front) as other:
        one.sign(signer)
        other.sign(signer)
        if how == "resets":
            reset(one.connection)
        else:
            one.connection.close()
        await signer.finishes(other.client)
        await front.until(lambda: len(signer.signing) == 0)
        assert _closed(one.descriptor)
        stage = "signature" if how == "resets" else "reply"
        assert signer.count(FAILURES, stage, "none") == signer.count(FAILURES) == 1
        assert len(signer.table) == 0


async def test_a_second_hello_without_the_share_gets_its_alert(front: Site, signer: Signer) -> None:
    """Its front's policy knew a group that ours does not take from it."""
    async with redeemed(front) as one, redeemed(front) as other:
        one.context = replace(one.context, group=NamedGroup.SECP256R1)
        one.sign(signer)
        assert await ending(one.connection) == b"\x15\3\3\0\2\2\x2f"
        assert signer.count(FAILURES, "signature", "illegal_parameter", "bad_key_share") == 1
        one.connection.close()
        other.sign(signer)
        await signer.finishes(other.client)
        assert len(signer.signing) == len(signer.table) == 0


async def test_a_refused_client_that_stays_is_closed_in_a_moment(
    front: Site, signer: Signer
) -> None:
    async with redeemed(front) as one:
        one.context = replace(one.context, group=NamedGroup.SECP256R1)
        one.sign(signer)
        await ending(one.connection)
        assert signer.clients.stage(one.descriptor) == Stage.LINGER
        await front.until(lambda: _closed(one.descriptor))
        assert signer.count(REAPED, "refused") == 1


@pytest.mark.requirement("A61")
async def test_a_source_that_echoes_cookies_and_falls_silent_has_its_limit(
    front: Site, signer: Signer
) -> None:
    signer.sources.configure(SourceSettings(half_open_limit=2))
    async with AsyncExitStack() as clients:
        flood = [await clients.enter_async_context(redeemed(front)) for _ in range(3)]
        other = await clients.enter_async_context(redeemed(front, ("127.0.0.2", 0)))
        for one in (*flood, other):
            one.sign(signer)
        assert await ending(flood[2].connection) == b""
        assert signer.count(FAILURES, "signature", "none", "source_limit") == 1
        await signer.finishes(other.client)
        await signer.finishes(flood[0].client)
        # Whose handshake is over leaves its place to the next.
        async with redeemed(front) as late:
            late.sign(signer)
            await signer.finishes(late.client)
        assert signer.count(FAILURES) == 1


async def test_what_came_behind_the_second_hello_is_its_reply(front: Site, signer: Signer) -> None:
    async with redeemed(front) as one:
        one.context = replace(one.context, unread=b"\x16\3\3\0\4\1\0\0\0")  # a third hello
        one.sign(signer)
        assert await ending(one.connection)
        refused = ("reply", "unexpected_message", "unexpected_record")
        assert signer.count(FAILURES, *refused) == signer.count(FAILURES) == 1
        assert len(signer.table) == 0


@pytest.mark.patches
async def test_each_turn_signs_for_a_slice_in_the_order_in_which_clients_came(
    front: Site, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a slice of nothing that is one client; whatever else is ready comes in between."""
    monkeypatch.setattr(signing, "_SIGNING_PER_TURN_S", -1.0)
    loop, seen = asyncio.get_running_loop(), list[object]()
    answered = Answerer.retried

    def noting(self: Answerer, five_tuple: bytes, context: Retried) -> object:
        seen.append(context)
        return answered(self, five_tuple, context)

    def turn() -> None:
        seen.append("a turn")
        if len(signer.table) < LIMIT:
            loop.call_soon(turn)

    async with AsyncExitStack() as ends:
        clients = [await ends.enter_async_context(redeemed(front)) for _ in range(LIMIT)]
        monkeypatch.setattr(Answerer, "retried", noting)
        for one in clients:
            one.sign(signer)
        loop.call_soon(turn)
        await front.until(lambda: len(signer.table) == LIMIT)
    expected: list[object] = []
    for one in clients:
        expected += [one.context, "a turn"]
    assert seen == expected


async def test_a_client_may_come_again_from_its_port(front: Site, signer: Signer) -> None:
    """Its new connection is answered before we see that the former has ended."""
    async with redeemed(front) as former:
        former.sign(signer)
        await front.until(lambda: len(signer.table) == 1)
        watched = signer.signing.handshakes.epoll.fileno()
        asyncio.get_running_loop().remove_reader(watched)
        source = former.connection.getsockname()
        reset(former.connection)
        async with redeemed(front, source) as one:
            one.sign(signer)
            one.connection.send(await one.client.reply(REQUEST))
            assert signer.count(FAILURES, "reply", "none", "reconnected") == 1
            assert signer.signing.handshakes.turn(time.monotonic()) == []
            descriptor, _, _ = signer.delivered.get_nowait()
            signer.signing.release(descriptor)
            os.close(descriptor)
    assert signer.count(FAILURES) == 1
    assert len(signer.table) == 0


async def test_a_number_serves_those_who_wait_even_after_it_was_dismissed(
    front: Site, signer: Signer
) -> None:
    async with redeemed(front) as one:
        one.sign(signer)
        signer.signing.dismiss(signer.number)
        other = signer.make(replace(LISTENER, server_names=()))
        assert signer.signing.enrol(other) != signer.number
        await signer.finishes(one.client)
    assert signer.signing.enrol(other) == signer.number, "it is free now"


async def test_a_number_is_free_for_others_while_its_sender_has_a_copy(
    front: Site, signer: Signer
) -> None:
    """A front closes its own only when it hears that we took the client, which may take a while."""
    async with redeemed(front) as former, redeemed(front) as one:
        former.sign(signer)
        await front.until(lambda: len(signer.table) == 1)
        copy = os.dup(former.descriptor)
        reset(former.connection)
        await front.until(lambda: len(signer.signing) == 0)
        # What is known of nobody is what listens; here nothing does.
        assert signer.signing.handshakes.turn(time.monotonic()) == []
        os.dup2(one.descriptor, former.descriptor)
        os.close(one.descriptor)
        one.descriptor = former.descriptor
        one.sign(signer)
        await signer.finishes(one.client)
        os.close(copy)
    assert signer.count(FAILURES) == 1


async def test_draining_waits_for_everybody_and_no_longer_than_told(
    front: Site, signer: Signer
) -> None:
    loop = asyncio.get_running_loop()
    await signer.signing.drained(60)
    async with redeemed(front) as one, redeemed(front) as late, redeemed(front) as silent:
        one.sign(signer)
        late.left_s = 0.0
        late.sign(signer)
        draining = loop.create_task(signer.signing.drained(60))
        await front.until(lambda: len(signer.signing) == 1)
        assert not draining.done()
        await signer.finishes(one.client)
        # At once, and not when somebody looks.
        for _ in range(5):
            await asyncio.sleep(0)
        assert draining.done()
        silent.sign(signer)
        await signer.signing.drained(0.0)
        assert len(signer.signing) == 1


async def test_closing_is_the_end_of_everybody_in_every_stage(front: Site) -> None:
    signer = Signer()
    async with redeemed(front) as answered, redeemed(front) as refused, redeemed(front) as waiting:
        answered.sign(signer)
        refused.context = replace(refused.context, group=NamedGroup.SECP256R1)
        refused.sign(signer)
        await front.until(lambda: signer.count(FAILURES) == len(signer.table) == 1)
        waiting.sign(signer)
        signer.signing.close()
        for one in (answered, refused, waiting):
            assert _closed(one.descriptor)
        assert len(signer.signing) == len(signer.table) == 0
        # What was to be signed in the next turn is not.
        assert await ending(waiting.connection) == b""
