"""A client connection from its first byte to its end: what is refused, waited for and drained."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from proxy.http import HttpSettings, Route, RouteTable
from tests.http.rig import GET, OK, Peer, Rig

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"

SMUGGLING = {
    "CL.TE": CHUNKED + b"Content-Length: 6\r\n\r\n0\r\n\r\nG",
    "TE.CL": CHUNKED.replace(b"Host", b"Content-Length: 4\r\nHost") + b"\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "length list": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello",
    "TE twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE not last": CHUNKED.replace(b"chunked", b"chunked, identity") + b"\r\n0\r\n\r\n",
    "TE identity": CHUNKED.replace(b"chunked", b"identity") + b"\r\n0\r\n\r\n",
    "TE vertical tab": CHUNKED.replace(b"chunked", b"\x0bchunked") + b"\r\n0\r\n\r\n",
    "TE null": CHUNKED.replace(b"chunked", b"chunked\0") + b"\r\n0\r\n\r\n",
    "TE space colon": CHUNKED.replace(b"ing:", b"ing :") + b"\r\n0\r\n\r\n",
    "TE fold": CHUNKED.replace(b" chunked", b"\r\n chunked") + b"\r\n0\r\n\r\n",
    "TE behind bare CR": CHUNKED.replace(b"\r\nTransfer", b"\rTransfer") + b"\r\n0\r\n\r\n",
    "TE behind bare LF": CHUNKED.replace(b"\r\nTransfer", b"\nTransfer") + b"\r\n0\r\n\r\n",
    "TE in 1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n0\r\n\r\n",
    "head ended by LF LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "bad host": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "userinfo": b"GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n",
    "leading LF": b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "path above root": b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad chunk size": CHUNKED + b"\r\n5x\r\nhello\r\n0\r\n\r\n",
    "chunk size with LF": CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n",
    "chunk too long": CHUNKED + b"\r\n5\r\nhelloX\r\n0\r\n\r\n",
    "folded trailer": CHUNKED + b"\r\n0\r\nA: b\r\n c\r\n\r\n",
}


@pytest.mark.parametrize("case", SMUGGLING)
async def test_smuggling_is_refused_and_no_backend_hears_of_it(case: str) -> None:
    async with Rig() as rig, rig.client() as client:
        client.send(SMUGGLING[case] + GET)
        reply = await client.response()
        assert reply.status == 400
        assert reply.field(b"Connection") == b"close"
        assert await client.rest() == b""
        record = await rig.record()
        assert record.reason is not None
        assert record.close == record.reason
        assert rig.backends == []


async def test_a_body_that_turns_bad_later_never_ends_for_the_backend() -> None:
    begun = asyncio.Event()
    broken = asyncio.Event()

    async def reading(peer: Peer) -> None:
        await peer.head()
        await peer.exactly(10)
        begun.set()
        try:
            await peer.rest()
        except ConnectionResetError:
            broken.set()

    async with Rig(reading) as rig, rig.client() as client:
        client.send(CHUNKED + b"\r\n5\r\nhello\r\n")
        await asyncio.wait_for(begun.wait(), 10)
        client.send(b"zz\r\n")
        assert (await client.response()).status == 400
        assert await client.rest() == b""
        await asyncio.wait_for(broken.wait(), 10)
        assert rig.backends[0].received.endswith(b"\r\n\r\n5\r\nhello\r\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"CONNECT a:443 HTTP/1.1", 405),
        (b"TRACE / HTTP/1.1", 405),
        (b"BREW / HTTP/1.1", 501),
        (b"PRI * HTTP/2.0", 505),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1", 414),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 40_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"\r\n".join([b"A: b"] * 120), 431),
        (b"GET / HTTP/1.1\r\nExpect: tea", 417),
    ],
)
async def test_what_is_refused_has_its_status_and_closes(request_line: bytes, status: int) -> None:
    async with Rig() as rig, rig.client() as client:
        client.send(request_line + b"\r\nHost: a\r\n\r\n" + GET)
        reply = await client.response()
        assert (reply.status, reply.field(b"Connection")) == (status, b"close")
        assert await client.rest() == b""
        assert rig.backends == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 20_000, 414),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 40_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"\x00", 400),
    ],
)
async def test_a_head_that_cannot_become_one_is_not_waited_for(data: bytes, status: int) -> None:
    async with Rig() as rig, rig.client() as client:
        client.send(data)
        assert (await client.response()).status == status
        assert await client.rest() == b""


async def test_no_route_is_a_404_and_the_connection_goes_on() -> None:
    async with Rig() as rig, rig.client() as client:
        missing = b"GET /x HTTP/1.1\r\nHost: strict\r\n\r\n"
        client.send(missing + GET)
        reply = await client.response()
        assert (reply.status, reply.field(b"Connection")) == (404, None)
        assert (await client.response()).status == 200
        client.send(missing.replace(b"GET", b"HEAD"))
        assert (await client.response(to_head=True)).status == 404
        post = missing.replace(b"GET", b"POST").replace(
            b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n"
        )
        client.send(post + b"hello" + post)
        assert (await client.response()).field(b"Connection") is None
        reply = await client.response()
        assert (reply.status, reply.field(b"Connection")) == (404, b"close")
        assert await client.rest() == b""


@pytest.mark.parametrize("body", [b"Content-Length: 6", b"Transfer-Encoding: chunked"])
async def test_a_body_beyond_the_limit_is_a_413(body: bytes) -> None:
    async def reading(peer: Peer) -> None:
        await peer.rest()

    settings = HttpSettings(request_body_limit_bytes=5)
    async with Rig(reading, settings=settings) as rig, rig.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + body + b"\r\n\r\n")
        if b"chunked" in body:
            client.send(b"3\r\nabc\r\n")
            await rig.backend_peer()
            client.send(b"3\r\ndef\r\n")
        reply = await client.response()
        assert (reply.status, reply.field(b"Connection")) == (413, b"close")
        assert await client.rest() == b""


async def test_empty_lines_before_a_request_are_ignored() -> None:
    async with Rig() as rig, rig.client() as client:
        client.send(b"\r\n\r\n" + GET)
        assert (await client.response()).status == 200
        for byte in b"\r\n" + GET:
            client.send(bytes([byte]))
            await client.flush()
        assert (await client.response()).status == 200


async def test_empty_lines_without_end_are_no_way_to_stay() -> None:
    settings = HttpSettings(request_head_timeout_s=0.2)
    async with Rig(settings=settings) as rig, rig.client() as client:

        async def flood() -> None:
            while True:
                client.send(b"\r\n" * 10_000)
                await client.flush()

        flooding = asyncio.create_task(flood())
        assert (await rig.record()).reason == "request_head_timeout"
        flooding.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await flooding


async def test_pipelined_requests_let_others_have_their_turn() -> None:
    async with Rig() as rig, rig.client() as client, rig.client() as other:
        client.send(b"GET /x HTTP/1.1\r\nHost: strict\r\n\r\n" * 2000)
        other.send(GET)
        assert (await other.response()).status == 200
        answered = 0
        while (await rig.record()).status == 404:
            answered += 1
        assert answered < 1000


async def test_a_slow_client_gets_the_whole_of_its_last_answer() -> None:
    size = 250_000

    async def big(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await peer.rest()

    settings = HttpSettings(lingering_timeout_s=0.0)
    rig = Rig(big, settings=settings, buffers=4096)
    async with rig, rig.client(buffers=4096) as client:
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (await rig.record()).close == "client_asked"
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await client.response()).body) == size
        assert await client.rest() == b""


async def test_a_client_that_never_takes_its_last_answer_is_left() -> None:
    size = 250_000

    async def big(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await peer.rest()

    settings = HttpSettings(client_write_timeout_s=0.1)
    rig = Rig(big, settings=settings, buffers=4096)
    async with rig, rig.client(buffers=4096) as client:
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await rig.record()
        await rig.served()


async def test_a_slow_head_is_a_408_and_an_idle_connection_just_ends() -> None:
    settings = HttpSettings(request_head_timeout_s=0.2, idle_timeout_s=0.1)
    async with Rig(settings=settings) as rig:
        async with rig.client() as client:
            client.send(b"GET / HT")
            reply = await client.response()
            assert (reply.status, reply.field(b"Connection")) == (408, b"close")
            assert (await rig.record()).reason == "request_head_timeout"
        async with rig.client() as client:
            assert await client.rest() == b""
        async with rig.client() as client:
            client.send(GET)
            assert (await client.response()).status == 200
            assert await client.rest() == b""
        assert (await rig.record()).status == 200
        await rig.served()


async def test_a_client_that_asks_for_the_end_gets_it() -> None:
    async with Rig() as rig, rig.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
        assert (await client.response()).field(b"Connection") == b"close"
        assert await client.rest() == b""
        assert (await rig.record()).close == "client_asked"
        assert len(rig.backends) == 1


async def test_a_client_that_half_closes_still_gets_its_answer() -> None:
    async with Rig() as rig, rig.client() as client:
        client.send(GET)
        client.end()
        assert (await client.response()).status == 200
        assert await client.rest() == b""
        await rig.served()


async def test_drain_ends_an_idle_connection_at_once() -> None:
    async with Rig() as rig, rig.client() as client:
        client.send(GET)
        await client.response()
        rig.connections[0].drain()
        rig.connections[0].drain()
        assert await client.rest() == b""
        await rig.served()


async def test_drain_lets_a_request_finish_and_says_close() -> None:
    go = asyncio.Event()

    async def waiting(peer: Peer) -> None:
        await peer.head()
        await go.wait()
        peer.send(OK)

    async with Rig(waiting) as rig, rig.client() as client:
        client.send(GET)
        await rig.backend_peer()
        rig.connections[0].drain()
        go.set()
        reply = await client.response()
        assert (reply.status, reply.field(b"Connection")) == (200, b"close")
        assert await client.rest() == b""
        assert (await rig.record()).close == "draining"


async def test_drain_does_not_serve_what_follows_the_close_it_announced() -> None:
    go = asyncio.Event()

    async def waiting(peer: Peer) -> None:
        while True:
            await peer.head()
            await go.wait()
            peer.send(OK)

    async with Rig(waiting) as rig, rig.client() as client:
        client.send(GET + GET)
        await rig.backend_peer()
        rig.connections[0].drain()
        go.set()
        assert (await client.response()).field(b"Connection") == b"close"
        assert await client.rest() == b""
        assert rig.backends[0].received.count(b"GET / ") == 1


async def test_drain_serves_what_came_before_it_could_be_announced() -> None:
    go = asyncio.Event()

    async def waiting(peer: Peer) -> None:
        while True:
            await peer.head()
            peer.send(OK[:-2])
            await go.wait()
            peer.send(OK[-2:])

    async with Rig(waiting) as rig, rig.client() as client:
        client.send(GET + GET)
        assert b"Connection" not in await client.head()
        rig.connections[0].drain()
        go.set()
        assert await client.exactly(2) == b"ok"
        reply = await client.response()
        assert (reply.status, reply.field(b"Connection")) == (200, b"close")
        assert await client.rest() == b""


async def test_an_answer_of_our_own_says_close_too_while_draining() -> None:
    go = asyncio.Event()

    async def failing(peer: Peer) -> None:
        await peer.head()
        await go.wait()

    async with Rig(failing) as rig, rig.client() as client:
        client.send(GET)
        await rig.backend_peer()
        rig.connections[0].drain()
        go.set()
        reply = await client.response()
        assert (reply.status, reply.field(b"Connection")) == (502, b"close")
        assert await client.rest() == b""


class DefectiveRoutes(RouteTable):
    """Stands for any bug of ours in the middle of a request."""

    def match(self, host: bytes | None, form: bytes) -> Route | None:
        raise ZeroDivisionError


async def test_a_defect_ends_one_connection_with_a_500_and_is_reported() -> None:
    async with Rig() as rig, rig.client() as good:
        good.send(GET)
        assert (await good.response()).status == 200
        rig.routes = DefectiveRoutes([])
        async with rig.client() as client:
            client.send(GET)
            reply = await client.response()
            assert (reply.status, reply.field(b"Connection")) == (500, b"close")
            assert await client.rest() == b""
        assert [type(error) for error in rig.defects] == [ZeroDivisionError]
        rig.defects.clear()
        good.send(GET)
        assert (await good.response()).status == 200
        reasons = [(await rig.record()).reason for _ in range(3)]
        assert reasons == [None, "internal_error", None]


async def test_a_cancelled_connection_leaves_nothing_behind() -> None:
    async def silent(peer: Peer) -> None:
        await peer.head()
        await asyncio.Event().wait()

    async with Rig(silent) as rig, rig.client() as client:
        client.send(GET)
        backend = await rig.backend_peer()
        rig.cancel_connections()
        await rig.served()
        with pytest.raises(ConnectionResetError):
            await client.rest()
        with pytest.raises(ConnectionResetError):
            await backend.rest()
        assert rig.backend.state()[0].in_use == 0
        assert (await rig.record()).status == 499


PIECES = [GET, GET[:16], b"\r\n", CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n", b"\0", b"\n"]


@pytest.mark.parametrize("seed", range(20))
async def test_any_bytes_end_in_answers_or_a_close(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - a reproducible mixture, no secret
    data = b"".join(
        source.choice(PIECES) if source.random() < 0.8 else source.randbytes(5) for _ in range(12)
    )
    settings = HttpSettings(
        idle_timeout_s=0.1, request_head_timeout_s=0.1, body_timeout_s=0.1, lingering_timeout_s=0.1
    )
    async with Rig(settings=settings, read_timeout_s=0.2) as rig, rig.client() as client:
        client.send(data)
        with contextlib.suppress(ConnectionError):
            await client.rest()
        await rig.served()
        assert rig.defects == []
