"""First hellos that are answered by HelloRetryRequest: who redeems its cookie, and who is refused.

A front that always retries has no name and no key; what it was given is all that it needs.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from proxy.front import Stage
from proxy.tls import Retried
from proxy.wire import ContentType, NamedGroup
from tests.front.site import CALM, NAME, NEVER, Client, Site, ending, keyless, site
from tests.tls.client import Client as Engine
from tests.tls.client import records
from tests.tls.hello import Hello, Share, hello

FAILURES = "vestibule_handshake_failures_total"
HELLOS = "vestibule_hellos_total"
REFUSED = "vestibule_retries_refused_total"
RETURNED = "vestibule_retries_returned_total"
CCS = b"\x14\x03\x03\x00\x01\x01"
EARLY = b"\x17\x03\x03\x10\x00" + bytes(4096)
HELLO = hello(server_name=NAME.encode())
PRESSED = replace(CALM, half_open=1, calm_s=NEVER)


@pytest.mark.requirement("A4", "A31")
async def test_a_keyless_front_keeps_nothing_and_offers_who_comes_back() -> None:
    listener = keyless()
    async with site(listener) as running:
        client, second = await running.ask()
        assert running.count(HELLOS, "retry") == running.clients.half_open == 1
        (number,) = running.clients.known()
        assert running.clients.stage(number) == Stage.SECOND_HELLO
        assert running.clients.key(number) is None
        assert len(running.table) == running.table.size_bytes == 0
        assert running.offered.empty()
        client.connection.send(second)
        capsule = await running.take()
        context = capsule.context
        assert isinstance(context, Retried)
        assert (capsule.generation, capsule.listener) == (7, 3)
        assert 0 < capsule.remaining_s <= listener.handshake_timeout_s
        assert (context.group, context.unread) == (NamedGroup.X25519, b"")
        assert len(running.table) == 0
        assert running.count(RETURNED) == 1
        # Only the retry was for it: nobody here could have signed.
        assert await ending(client.connection) == b""
        client.connection.close()
        await running.until(lambda: len(running.clients) == 0)
        assert running.count("vestibule_handshakes_total") == running.count(FAILURES) == 0


class Asked:
    """A client that was sent a HelloRetryRequest, and can answer it in any way."""

    def __init__(self, connection: socket.socket, first: Hello) -> None:
        self.connection = connection
        self.first = first
        self.engine = Engine(first)

    async def ask(self, behind: bytes = b"") -> None:
        """Say hello, with bytes behind it, and read the retry."""
        loop = asyncio.get_running_loop()
        self.connection.send(self.engine.start() + behind)
        self.engine.retry(await asyncio.wait_for(loop.sock_recv(self.connection, 4096), 10))

    def second(self, **changes: object) -> bytes:
        """The records of the hello that was asked for, or of one with changes."""
        right = replace(self.first, cookie=self.engine.cookie, early_data=False)
        return replace(right, **changes).records()  # type: ignore[arg-type]  # fields by name


@asynccontextmanager
async def asked(running: Site, behind: bytes = b"", **first: object) -> AsyncIterator[Asked]:
    """A client that has been retried, and all of them said the same."""
    given = replace(HELLO, **first)  # type: ignore[arg-type]  # fields by name
    with await running.connect() as connection:
        one = Asked(connection, given)
        await one.ask(behind)
        yield one


def _forged(one: Asked) -> bytes:
    cookie = bytearray(one.engine.cookie)
    cookie[20] ^= 1
    return bytes(cookie)


REFUSALS: dict[str, tuple[Callable[[Asked, Asked], bytes], str, int]] = {
    "the cookie of another connection": (
        lambda one, other: one.second(cookie=other.engine.cookie),
        "bad_cookie",
        47,
    ),
    "a forged cookie": (lambda one, _: one.second(cookie=_forged(one)), "bad_cookie", 47),
    "a cookie of one byte": (lambda one, _: one.second(cookie=b"x"), "bad_cookie", 47),
    "no cookie": (lambda one, _: one.second(cookie=None), "missing_extension", 109),
    "another random": (lambda one, _: one.second(random=bytes(32)), "hello_changed", 47),
    "early data again": (lambda one, _: one.second(early_data=True), "hello_changed", 47),
    "no shares": (lambda one, _: one.second(shares=[]), "hello_changed", 47),
    "CCS without end": (lambda one, _: 33 * CCS + one.second(), "unexpected_record", 10),
    "a CCS of another value": (lambda *_: CCS[:-1] + b"\2", "unexpected_ccs", 10),
    "a CCS inside": (
        lambda one, _: (part := one.second())[:3] + b"\0\1" + part[5:6] + CCS,
        "unexpected_record",
        10,
    ),
    "too much early data": (lambda *_: EARLY * 5, "unexpected_early_data", 10),
    "a Finished in clear": (lambda *_: b"\x16\3\3\0\4\x14\0\0\0", "unexpected_message", 10),
    "another protocol": (lambda *_: b"GET / HTTP/1.1\r\n\r\n", "unexpected_record", 10),
}


@pytest.mark.requirement("A4", "A27", "A31")
@pytest.mark.parametrize("case", REFUSALS)
async def test_who_does_not_come_back_as_asked_is_refused(case: str) -> None:
    said, reason, alert = REFUSALS[case]
    async with site(keyless()) as running, asked(running) as other, asked(running) as one:
        # The same hello on both: the connection alone makes the difference.
        one.connection.send(said(one, other))
        assert await ending(one.connection) == b"\x15\3\3\0\2\2" + bytes((alert,))
        assert running.count(REFUSED) == running.count(REFUSED, reason) == 1
        assert running.count(FAILURES, "second_hello") == running.count(FAILURES) == 1
        assert running.count(RETURNED) == len(running.table) == 0
        other.connection.send(other.second())
        assert isinstance((await running.take()).context, Retried)
        assert running.count(RETURNED) == 1


@pytest.mark.parametrize(
    ("said", "reason", "alert"),
    [
        pytest.param(CCS, "unexpected_record", 10, id="a CCS"),
        pytest.param(EARLY, "unexpected_record", 10, id="early data"),
        pytest.param(hello(cookie=b"x").records(), "bad_cookie", 47, id="a cookie"),
        pytest.param(hello(versions=[0x0303]).records(), "no_shared_version", 70, id="TLS 1.2"),
        pytest.param(hello(groups=[0x001E], shares=[]).records(), "no_shared_group", 40, id="X448"),
    ],
)
async def test_a_first_hello_that_cannot_be_retried_is_no_refused_retry(
    said: bytes, reason: str, alert: int
) -> None:
    async with site(keyless()) as running:
        with await running.connect() as connection:
            connection.send(said)
            assert await ending(connection) == b"\x15\3\3\0\2\2" + bytes((alert,))
        assert running.count(FAILURES) == 1
        assert running.count(FAILURES, "hello") == 1, running.metrics.snapshot()[FAILURES]
        assert running.metrics.snapshot()[FAILURES][0][0][2] == reason
        assert running.count(REFUSED) == running.count(HELLOS) == 0


@pytest.mark.parametrize(
    ("behind", "between"),
    [
        pytest.param(b"", CCS, id="CCS"),
        pytest.param(EARLY, b"", id="early data"),
        pytest.param(EARLY, EARLY * 3, id="all the early data"),
        pytest.param(EARLY + EARLY[:9], EARLY[9:] + CCS, id="early data in pieces, and CCS"),
        pytest.param(CCS, b"", id="CCS at once"),
    ],
)
async def test_what_may_stand_between_the_two_hellos_is_skipped(
    behind: bytes, between: bytes
) -> None:
    async with site(keyless()) as running:
        first = {"early_data": behind[:1] == EARLY[:1]}
        async with asked(running, behind, **first) as one:
            second = one.second()
            one.connection.send(between + second)
            context = (await running.take()).context
            assert isinstance(context, Retried)
            assert context.hello == second[5:]
            assert context.unread == b""
        assert running.clients.pending_bytes == 0


async def test_a_second_hello_may_come_a_byte_at_a_time() -> None:
    async with site(keyless()) as running, asked(running) as one:
        one.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        for byte in CCS + one.second():
            await loop.sock_sendall(one.connection, bytes((byte,)))
        assert isinstance((await running.take()).context, Retried)


@pytest.mark.requirement("A31")
async def test_a_client_without_a_share_is_asked_for_the_best_that_both_have() -> None:
    async with site(keyless()) as running:
        groups = [NamedGroup.SECP384R1, NamedGroup.SECP256R1]
        async with asked(running, groups=groups, shares=[]) as one:
            assert one.engine.group == NamedGroup.SECP256R1
            one.connection.send(one.second(shares=[Share.new(NamedGroup.SECP256R1)]))
            context = (await running.take()).context
            assert isinstance(context, Retried)
            assert context.group == NamedGroup.SECP256R1


@pytest.mark.parametrize("together", [False, True])
async def test_a_third_hello_is_no_reply(together: bool) -> None:
    async with site(pressure=PRESSED) as running:
        silent = Client(await running.connect())
        silent.connection.send(silent.hello())
        await running.until(lambda: running.pressure.active)
        async with asked(running) as one:
            one.connection.send(one.second() * (2 if together else 1))
            if not together:
                await running.until(lambda: len(running.table) == 2)
                one.connection.send(one.second())
            *_, last = records(await ending(one.connection))
            # Under our keys by now: a record of an alert, its type and a tag.
            assert (last[0][0], len(last[1])) == (ContentType.APPLICATION_DATA, 2 + 1 + 16)
        failed = running.count(FAILURES, "reply", "unexpected_message", "unexpected_record")
        assert failed == running.count(FAILURES) == 1
        assert running.count(RETURNED) == 1
        assert len(running.table) == 1
        silent.connection.close()


@pytest.mark.requirement("A51", "A52")
async def test_a_second_hello_has_its_own_time_and_not_more_than_the_handshake() -> None:
    for bounds in ({"hello_timeout_s": 0.3}, {"handshake_timeout_s": 0.3}):
        async with site(keyless(**bounds)) as running, asked(running) as one:
            assert await ending(one.connection) == b""
            assert running.count("vestibule_reaped_total", "hellos") == 1
            assert len(running.clients) == 0
