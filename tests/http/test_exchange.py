"""One request through the proxy, with backends that behave and backends that do not."""

from __future__ import annotations

import pytest

from tests.http.rig import GET, OK, Peer, Rig

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


async def test_a_request_goes_there_and_its_response_comes_back() -> None:
    async with Rig() as rig, rig.client() as client:
        client.send(b"GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n")
        reply = await client.response()
        assert (reply.status, reply.body) == (200, b"ok")
        assert reply.field(b"Connection") is None
        assert reply.field(b"Date") is not None
        lines = rig.backends[0].received.split(b"\r\n")
        assert lines[:3] == [b"GET /a?b=c HTTP/1.1", b"Host: example.org", b"Accept: */*"]
        assert b"X-Forwarded-For: 127.0.0.1" in lines
        record = await rig.record()
        assert b"X-Request-Id: " + record.request_id.encode() in lines
        assert (record.status, record.reason, record.close) == (200, None, None)
        assert (record.backend, str(record.server)) == ("app", str(rig.backend.settings.servers[0]))
        assert (record.method, record.target, record.field(b"host")) == (
            b"GET",
            b"/a?b=c",
            b"example.org",
        )
        assert record.response_bytes == len(client.received)
        assert record.backend_time_s is not None
        assert 0 < record.backend_time_s <= record.duration_s


async def test_one_backend_connection_carries_many_requests() -> None:
    async with Rig() as rig, rig.client() as client:
        for _ in range(3):
            client.send(GET)
            assert (await client.response()).status == 200
        assert len(rig.backends) == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def echo_target(peer: Peer) -> None:
        while True:
            target = (await peer.head()).split(b" ")[1]
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    async with Rig(echo_target) as rig, rig.client() as client:
        body = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        client.send(body + GET.replace(b"/ ", b"/2 ") + GET.replace(b"/ ", b"/3 "))
        assert [(await client.response()).body for _ in range(3)] == [b"/1", b"/2", b"/3"]


@pytest.mark.parametrize("step", [1, 7])
async def test_a_request_in_pieces_is_the_same_request(step: int) -> None:
    async def echo(peer: Peer) -> None:
        await peer.head()
        body = await peer.chunked()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    wire = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire += b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nDigest: x\r\n\r\n"
    async with Rig(echo) as rig, rig.client() as client:
        for start in range(0, len(wire), step):
            client.send(wire[start : start + step])
            await client.flush()
        assert (await client.response()).body == b"hello world"
        assert b"Digest" not in rig.backends[0].received
        assert (await rig.record()).request_bytes == len(wire)


async def test_head_and_a_small_body_reach_the_backend_together() -> None:
    async def read_once(peer: Peer) -> None:
        data = await peer.reader.read(1 << 16)
        assert data.endswith(b"\r\n\r\nhello")
        peer.send(OK)

    async with Rig(read_once) as rig, rig.client() as client:
        client.send(POST + b"hello")
        assert (await client.response()).status == 200
        assert rig.defects == []


async def test_a_response_without_length_is_chunked_for_1_1_and_closed_for_1_0() -> None:
    async def close_delimited(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nfirst ")
        await peer.flush()
        peer.send(b"second")

    async with Rig(close_delimited) as rig:
        async with rig.client() as client:
            client.send(GET)
            reply = await client.response()
            assert reply.field(b"Transfer-Encoding") == b"chunked"
            assert reply.body == b"first second"
            client.send(GET)
            assert (await client.response()).body == b"first second"
        async with rig.client() as client:
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            reply = await client.response()
            assert reply.field(b"Transfer-Encoding") is None
            assert reply.field(b"Connection") == b"close"
            assert reply.body == b"first second"
        closes = [(await rig.record()).close for _ in range(3)]
        assert closes == [None, None, "undelimited"]
        assert len(rig.backends) == 3


async def test_a_chunked_response_is_passed_on_and_unwrapped_for_1_0() -> None:
    async def chunked(peer: Peer) -> None:
        while True:
            await peer.head()
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n")
            peer.send(b"3;ext\r\none\r\n3\r\ntwo\r\n0\r\nX: y\r\n\r\n")

    async with Rig(chunked) as rig:
        async with rig.client() as client:
            client.send(GET)
            reply = await client.response()
            assert (reply.body, reply.field(b"Trailer")) == (b"onetwo", None)
        async with rig.client() as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.response()).body == b"onetwo"
        assert len(rig.backends) == 1


async def test_http_1_0_keeps_alive_where_it_asks_and_the_length_is_known() -> None:
    async with Rig() as rig, rig.client() as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (await client.response()).field(b"Connection") == b"keep-alive"
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        reply = await client.response()
        assert reply.field(b"Connection") == b"close"
        assert await client.rest() == b""
        # RFC 9112, section 3.2: what goes on is 1.1, so it has a Host even if this had none.
        assert b"\r\nHost: 127.0.0.1:%d\r\n" % rig.backend_port in rig.backends[0].received


async def test_the_backends_own_name_is_sent_where_the_route_says_so() -> None:
    async with Rig(preserve_host=False) as rig, rig.client() as client:
        client.send(GET)
        await client.response()
        received = rig.backends[0].received
        assert b"\r\nHost: 127.0.0.1:%d\r\n" % rig.backend_port in received
        assert b"\r\nX-Forwarded-Host: a\r\n" in received


@pytest.mark.parametrize("fields", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_head_204_and_304_have_no_body(fields: bytes) -> None:
    async def bodiless(peer: Peer) -> None:
        while True:
            target = (await peer.head()).split(b" ")[1]
            peer.send(b"HTTP/1.1 %b X\r\n%b\r\n" % (target[1:], fields))

    async with Rig(bodiless) as rig, rig.client() as client:
        for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304), (b"HEAD", 404)):
            client.send(b"%b /%d HTTP/1.1\r\nHost: a\r\n\r\n" % (method, status))
            assert (await client.response(to_head=True)).status == status
        assert len(rig.backends) == 1


async def test_interim_responses_are_relayed_but_not_to_1_0() -> None:
    async def hints(peer: Peer) -> None:
        while True:
            await peer.head()
            peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n" + OK)

    async with Rig(hints) as rig:
        async with rig.client() as client:
            client.send(GET)
            interim = await client.response()
            assert interim.head == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            assert (await client.response()).status == 200
        async with rig.client() as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.response()).status == 200


async def test_endless_interim_responses_end() -> None:
    async def hints(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 200)
        await peer.rest()

    async with Rig(hints) as rig, rig.client() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.response()).status == 502
        assert (await rig.record()).reason == "backend_too_many_interim_responses"


async def test_the_backend_decides_on_100_continue() -> None:
    async def willing(peer: Peer) -> None:
        while True:
            assert b"Expect: 100-continue\r\n" in await peer.head()
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert await peer.exactly(5) == b"hello"
            peer.send(OK)

    async with Rig(willing) as rig, rig.client() as client:
        for _ in range(2):
            client.send(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
            assert (await client.response()).status == 100
            client.send(b"hello")
            assert (await client.response()).status == 200
        assert len(rig.backends) == 1


async def test_a_refused_expectation_ends_the_connection_without_the_body() -> None:
    async def unwilling(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        assert await peer.rest() == b""

    async with Rig(unwilling) as rig, rig.client() as client:
        client.send(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        reply = await client.response()
        assert (reply.status, reply.body) == (413, b"no")
        assert reply.field(b"Connection") == b"close"
        assert await client.rest() == b""
        assert (await rig.record()).close == "answered_early"


async def test_an_early_answer_reaches_a_client_that_is_still_sending() -> None:
    async def early(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await peer.rest()

    async with Rig(early) as rig, rig.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n")
        client.send(b"x" * 1_000_000)
        reply = await client.response()
        assert (reply.status, reply.body, reply.field(b"Connection")) == (413, b"no", b"close")
        client.send(b"x" * 1_000_000)
        assert await client.rest() == b""
        record = await rig.record()
        assert (record.status, record.close) == (413, "answered_early")


async def test_request_and_response_bodies_flow_at_the_same_time() -> None:
    async def echo(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(await peer.until(b"\r\n"), 16):
            peer.send(b"%x\r\n%b" % (size, await peer.exactly(size + 2)))
        await peer.exactly(2)
        peer.send(b"0\r\n\r\n")
        await answer_next(peer)

    async def answer_next(peer: Peer) -> None:
        await peer.head()
        peer.send(OK)

    async with Rig(echo) as rig, rig.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 200")
        for word in (b"one", b"two", b"three"):
            piece = b"%x\r\n%b\r\n" % (len(word), word)
            client.send(piece)
            assert await client.exactly(len(piece)) == piece
        client.send(b"0\r\n\r\n")
        assert await client.exactly(5) == b"0\r\n\r\n"
        client.send(GET)
        assert (await client.response()).status == 200
        assert len(rig.backends) == 1


async def test_an_early_success_ends_both_connections_if_the_body_is_never_read() -> None:
    answered = 0

    async def hasty(peer: Peer) -> None:
        nonlocal answered
        while True:
            await peer.head()
            answered += 1
            peer.send(OK)

    async with Rig(hasty) as rig:
        async with rig.client() as client:
            client.send(POST)
            assert (await client.response()).status == 200
            assert await client.rest() == b""
            assert (await rig.record()).close == "answered_early"
        async with rig.client() as client:
            client.send(GET)
            assert (await client.response()).status == 200
        assert (answered, len(rig.backends)) == (2, 2)
