"""Backends that fail: what the client is told, and when a request is sent again."""

from __future__ import annotations

import asyncio

import pytest

from proxy.http import HttpSettings
from tests.http.rig import GET, OK, Peer, Rig

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


async def never() -> None:
    await asyncio.Event().wait()


JUNK = {
    b"": "backend_closed",
    b"junk\r\n\r\n": "backend_bad_status_line",
    b"HTTP/1.1 200 OK\n\n": "backend_bare_line_feed",
    b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n": "backend_bad_head",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n": "backend_obs_fold",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": (
        "backend_bad_head"
    ),
    b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n": "backend_bad_head",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": "backend_bad_chunk_size",
    b"HTTP/1.1 200 OK\r\nA: " + b"b" * 40_000: "backend_response_head_too_large",
    b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n": (
        "backend_unasked_upgrade"
    ),
    b"HTTP/1.1 200 OK\r\nContent-": "backend_closed",
}


@pytest.mark.parametrize("junk", JUNK)
async def test_a_backend_that_talks_junk_is_a_502(junk: bytes) -> None:
    async def junky(peer: Peer) -> None:
        await peer.head()
        peer.send(junk)

    async with Rig(junky) as rig, rig.client() as client:
        client.send(GET)
        reply = await client.response()
        assert reply.status == 502
        assert reply.field(b"Connection") is None
        record = await rig.record()
        assert (record.status, record.reason) == (502, JUNK[junk])
        assert reply.body == b"502 Bad Gateway\nrequest id: %b\n" % record.request_id.encode()
        client.send(GET)
        assert (await client.response()).status == 502


BROKEN = {
    "length": (b"Content-Length: 10", b"hello", "backend_body_truncated"),
    "chunk": (b"Transfer-Encoding: chunked", b"5\r\nhel", "backend_body_truncated"),
    "no last chunk": (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", "backend_body_truncated"),
    "bad chunk": (b"Transfer-Encoding: chunked", b"5\r\nhello\r\nzz\r\n", "backend_bad_chunk_size"),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_response_that_breaks_off_breaks_off_for_the_client(case: str) -> None:
    field, body, reason = BROKEN[case]
    started = asyncio.Event()

    async def breaking(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\n")
        await started.wait()
        peer.send(body)

    async with Rig(breaking) as rig, rig.client() as client:
        client.send(GET)
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK")
        started.set()
        with pytest.raises(ConnectionResetError):
            await client.rest()
        record = await rig.record()
        assert (record.status, record.reason, record.close) == (200, reason, reason)
        assert b"\r\n0\r\n" not in client.received


async def test_a_reset_in_mid_body_breaks_off_too() -> None:
    async def resetting(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await peer.flush()
        await peer.head()
        peer.reset()

    async with Rig(resetting) as rig, rig.client() as client:
        client.send(POST.replace(b"5", b"20"))
        head = await client.head()
        assert b"chunked" in head
        assert await client.exactly(10) == b"5\r\nhello\r\n"
        client.send(b"x" * 16 + b"\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await client.rest()
        assert (await rig.record()).reason == "backend_reset"


async def test_bytes_behind_a_response_are_no_response_to_the_next_request() -> None:
    async def eager(peer: Peer) -> None:
        await peer.head()
        peer.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        await peer.rest()

    async with Rig(eager) as rig, rig.client() as client:
        for _ in range(2):
            client.send(GET)
            assert (await client.response()).body == b"ok"
        assert len(rig.backends) == 2


async def test_a_silent_backend_is_a_504() -> None:
    async def silent(peer: Peer) -> None:
        await peer.rest()

    async with Rig(silent, read_timeout_s=0.1) as rig, rig.client() as client:
        client.send(GET)
        assert (await client.response()).status == 504
        assert (await rig.record()).reason == "backend_read_timeout"
        client.send(POST + b"hello")
        assert (await client.response()).status == 504
        assert len(rig.backends) == 2


async def test_a_backend_may_be_silent_while_the_body_is_still_coming() -> None:
    async def patient(peer: Peer) -> None:
        await peer.rest()

    settings = HttpSettings(body_timeout_s=0.3)
    async with Rig(patient, read_timeout_s=0.1, settings=settings) as rig, rig.client() as client:
        client.send(POST)
        assert (await client.response()).status == 408
        assert (await rig.record()).reason == "body_timeout"


async def test_a_backend_that_takes_nothing_is_a_504() -> None:
    async def deaf(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await never()

    async with Rig(deaf, write_timeout_s=0.2) as rig, rig.client() as client:
        client.send(POST.replace(b"5", b"50000000") + b"x" * 20_000_000)
        assert (await client.response()).status == 504
        assert (await rig.record()).reason == "backend_write_timeout"


async def test_a_backend_that_cannot_be_reached_is_a_502() -> None:
    async with Rig(servers=("http://127.0.0.1:1",)) as rig, rig.client() as client:
        client.send(GET)
        assert (await client.response()).status == 502
        record = await rig.record()
        assert (record.reason, record.phase) == ("refused", "refuse")


async def test_another_server_is_tried_for_any_method_where_one_cannot_be_reached() -> None:
    async with Rig() as probe:
        servers = ("http://127.0.0.1:1", f"http://127.0.0.1:{probe.backend_port}")
        async with Rig(servers=servers) as rig, rig.client() as client:
            for _ in range(2):
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                assert (await client.response()).status == 200


async def test_no_connection_to_be_had_is_a_503() -> None:
    async def silent(peer: Peer) -> None:
        await peer.rest()

    async with (
        Rig(silent, max_connections=1, wait_timeout_s=0.1) as rig,
        rig.client() as first,
        rig.client() as second,
    ):
        first.send(GET)
        await rig.backend_peer()
        second.send(GET)
        assert (await second.response()).status == 503
        assert (await rig.record()).reason == "queue_timeout"


# Sending again


class Fickle:
    """Answers the first request of its first connection, then breaks it when the next has come."""

    def __init__(self, *, first_byte: bytes = b"", reset: bool = False) -> None:
        self.requests: list[bytes] = []
        self._first_byte = first_byte
        self._reset = reset
        self._connections = 0

    async def __call__(self, peer: Peer) -> None:
        self._connections += 1
        first = self._connections == 1
        while True:
            self.requests.append(await peer.head())
            if first and len(self.requests) == 2:
                break
            peer.send(OK)
        peer.send(self._first_byte)
        await peer.flush()
        if self._reset:
            peer.reset()

    @property
    def methods(self) -> list[bytes]:
        return [request.split(b" ")[0] for request in self.requests]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_an_idempotent_request_is_sent_again_when_a_reused_connection_fails(
    method: bytes, reset: bool
) -> None:
    fickle = Fickle(reset=reset)
    async with Rig(fickle) as rig, rig.client() as client:
        client.send(GET)
        await client.response()
        client.send(GET.replace(b"GET", method))
        reply = await client.response(to_head=method == b"HEAD")
        assert reply.status == 200
        assert fickle.methods == [b"GET", method, method]
        assert [(await rig.record()).attempts for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
async def test_another_method_is_never_sent_again(method: bytes) -> None:
    fickle = Fickle()
    async with Rig(fickle) as rig, rig.client() as client:
        client.send(GET)
        await client.response()
        client.send(GET.replace(b"GET", method))
        assert (await client.response()).status == 502
        assert fickle.methods == [b"GET", method]
        assert [(await rig.record()).reason for _ in range(2)] == [None, "backend_closed"]


async def test_nothing_is_sent_again_once_a_body_byte_was_consumed() -> None:
    fickle = Fickle()
    async with Rig(fickle) as rig, rig.client() as client:
        client.send(GET)
        await client.response()
        client.send(POST.replace(b"POST", b"PUT") + b"h")
        assert (await client.response()).status == 502
        assert fickle.methods == [b"GET", b"PUT"]


async def test_a_body_that_was_not_touched_follows_the_request_to_the_next_connection() -> None:
    bodies: list[bytes] = []

    async def fickle(peer: Peer) -> None:
        await peer.head()
        if len(rig.backends) == 1:
            peer.send(OK)
            await peer.head()
            return
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        bodies.append(await peer.exactly(5))
        peer.send(OK)

    async with Rig(fickle) as rig, rig.client() as client:
        client.send(GET)
        await client.response()
        put = POST.replace(b"POST", b"PUT")
        client.send(put.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert (await client.response()).status == 100
        client.send(b"hello")
        assert (await client.response()).status == 200
        assert bodies == [b"hello"]


async def test_nothing_is_sent_again_after_the_first_byte_of_a_response() -> None:
    fickle = Fickle(first_byte=b"H")
    async with Rig(fickle) as rig, rig.client() as client:
        client.send(GET)
        await client.response()
        client.send(GET)
        assert (await client.response()).status == 502
        assert len(fickle.requests) == 2


async def test_nothing_is_sent_again_on_a_fresh_connection_or_after_a_timeout() -> None:
    requests = []

    async def closing(peer: Peer) -> None:
        requests.append(await peer.head())

    async with Rig(closing) as rig, rig.client() as client:
        client.send(GET)
        assert (await client.response()).status == 502
        assert len(requests) == 1


async def test_sending_again_ends_after_the_allowed_attempts() -> None:
    requests = []

    async def once(peer: Peer) -> None:
        requests.append(await peer.head())
        peer.send(OK)
        requests.append(await peer.head())

    async with Rig(once) as rig:
        clients = [rig.client() for _ in range(3)]
        async with clients[0] as a, clients[1] as b, clients[2] as c:
            for client in (a, b, c):
                client.send(GET)
            for client in (a, b, c):
                assert (await client.response()).status == 200
            pooled = rig.backend.state()[0].idle
            a.send(GET)
            status = (await a.response()).status
        # Each pooled connection fails in turn; a fresh one, or the limit, ends it.
        assert status == (502 if pooled >= rig.settings.attempts else 200)
        assert len(requests) == 3 + min(pooled, rig.settings.attempts) + (status == 200)


async def test_a_server_that_breaks_before_it_answers_is_set_aside() -> None:
    async def closing(peer: Peer) -> None:
        await peer.head()

    async with Rig(closing) as rig, rig.client() as client:
        for _ in range(3):
            client.send(GET)
            assert (await client.response()).status == 502
        assert not rig.backend.state()[0].in_rotation
