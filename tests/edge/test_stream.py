"""Streams over real loopback connections: what both halves and the end of a connection do."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from proxy.edge import HIGH_WATER, PlainSession, Stream, StreamError, TlsSession
from proxy.edge.receiver import MAX_OWED, READ_AHEAD
from proxy.edge.sender import LEAST_APPETITE
from proxy.edge.stream import FINISH_PIECE, WRITE_PIECE
from proxy.tls import ApplicationData, CloseNotify
from tests.edge.legs import KINDS, sessions, stream_pair, tcp_pair

BULK = os.urandom(1 << 20) * 16
SOON_S = 10.0
"""Bounds waits that end by an event; reaching it fails the test."""

both_kinds = pytest.mark.parametrize("kind", KINDS)


async def read_all(stream: Stream) -> bytes:
    received = bytearray()
    while data := await stream.read(SOON_S):
        received += data
    return bytes(received)


async def read_exactly(stream: Stream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        data = await stream.read(SOON_S)
        assert data, "ended early"
        received += data
    return received


def segments_in(sock: socket.socket) -> int:
    """Packets that have come, as Linux counts them: tcpi_segs_in."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int.from_bytes(info[140:144], sys.byteorder)


def cancel_of(task: asyncio.Task[Any]) -> Callable[[], None]:
    def cancel() -> None:
        task.cancel()

    return cancel


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class TestBothDirections:
    @both_kinds
    async def test_a_request_and_its_response(self, kind: str) -> None:
        with stream_pair(kind) as (near, far):
            for number in range(3):
                await near.write(b"request %d" % number)
                assert await far.read(SOON_S) == b"request %d" % number
                await far.write(b"response")
                assert await near.read(SOON_S) == b"response"
            assert near.quiet
            assert far.quiet

    @both_kinds
    async def test_bulk_arrives_unchanged_both_ways_at_once(self, kind: str) -> None:
        async def send(stream: Stream) -> None:
            await stream.write(BULK, SOON_S)
            await stream.close_write(SOON_S)

        with stream_pair(kind) as (near, far):
            _, _, at_near, at_far = await asyncio.gather(
                send(near), send(far), read_all(near), read_all(far)
            )
            assert digest(at_near) == digest(at_far) == digest(BULK)

    @both_kinds
    async def test_one_direction_ends_and_the_other_goes_on(self, kind: str) -> None:
        with stream_pair(kind) as (near, far):
            await near.write(b"all I have to say")
            await near.close_write(SOON_S)
            await near.close_write(SOON_S)
            assert await read_all(far) == b"all I have to say"
            await far.write(b"much more" * 100_000, SOON_S)
            assert len(await read_exactly(near, 900_000)) == 900_000
            with pytest.raises(StreamError, match="closed"):
                await near.write(b"too late")
            await far.close_write(SOON_S)
            assert await near.read(SOON_S) == b""
            assert await near.read(SOON_S) == b"", "the end stays the end"

    @both_kinds
    async def test_pushed_back_bytes_come_first(self, kind: str) -> None:
        with stream_pair(kind) as (near, far):
            await near.write(b"headbody")
            assert await far.read(SOON_S) == b"headbody"
            far.unread(b"body")
            far.unread(b"")
            assert not far.quiet
            await near.write(b" and more")
            assert await read_exactly(far, 13) == b"body and more"

    async def test_what_came_before_is_read_first_and_what_was_unsent_sent_first(self) -> None:
        near, far = tcp_pair()
        with far:
            stream = Stream(near.detach(), PlainSession(), received=b"early", unsent=b"ticket ")
            await stream.write(b"response")
            assert await stream.read(SOON_S) == b"early"
            await stream.drain(SOON_S)
            assert far.recv(100) == b"ticket response", "in one piece"
            stream.abort()

    async def test_unsent_bytes_leave_without_a_write(self) -> None:
        near, far = tcp_pair()
        with far:
            stream = Stream(near.detach(), PlainSession(), unsent=b"ticket")
            assert await asyncio.get_running_loop().sock_recv(far, 100) == b"ticket"
            stream.abort()


class TestBackPressure:
    async def test_a_writer_waits_while_the_peer_does_not_read(self) -> None:
        with stream_pair(buffers=8192) as (near, far):
            with pytest.raises(TimeoutError):
                await near.write(BULK, 0.05)
            assert HIGH_WATER < near.unsent <= HIGH_WATER + WRITE_PIECE
            ahead = await far.read(SOON_S)
            assert len(ahead) <= 2 * READ_AHEAD, "nobody read: the rest stayed in the kernel"

    async def test_a_small_write_does_not_wait_for_a_slow_peer(self) -> None:
        with stream_pair(buffers=8192) as (near, far):
            for start in range(0, HIGH_WATER, 65536):
                await near.write(BULK[start : start + 65536])
            assert near.unsent > 0
            reading = asyncio.create_task(read_exactly(far, HIGH_WATER))
            await near.drain(SOON_S)
            assert near.unsent == 0
            assert await reading == BULK[:HIGH_WATER]

    async def test_a_slow_reader_is_not_a_silent_one(self) -> None:
        """The timeout is for silence: a peer that takes a little each time is served."""
        with stream_pair(buffers=8192) as (near, far):
            writing = asyncio.create_task(near.write(BULK[: 1 << 20], 0.3))
            received = 0
            began = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() - began < 0.7:
                received += len(await far.read(SOON_S))
                await asyncio.sleep(0.05)  # this is the slowness, not a wait for anything
                if writing.done():
                    break
            while received < 1 << 20:
                received += len(await far.read(SOON_S))
            await writing

    async def test_tiny_records_that_nobody_reads_take_no_more_than_their_bytes(self) -> None:
        class Tiny(PlainSession):
            """Every two bytes are a record of their own."""

            def receive(self, data: memoryview, /) -> Sequence[ApplicationData | CloseNotify]:
                return [ApplicationData(bytes(data[i : i + 2])) for i in range(0, len(data), 2)]

        near, far = tcp_pair()
        with far:
            stream = Stream(near.detach(), Tiny())
            far.sendall(b"ab" * (READ_AHEAD // 4))
            tracemalloc.start()
            try:
                told = asyncio.Event()
                stream.when_readable(told.set)
                async with asyncio.timeout(SOON_S):
                    await told.wait()
                assert tracemalloc.get_traced_memory()[0] < 2 * READ_AHEAD
            finally:
                tracemalloc.stop()
            assert await read_exactly(stream, READ_AHEAD // 2) == b"ab" * (READ_AHEAD // 4)
            stream.abort()

    async def test_a_paused_reader_goes_on(self) -> None:
        part = BULK[: 4 << 20]
        with stream_pair(buffers=8192) as (near, far):
            writing = asyncio.create_task(near.write(part, SOON_S))
            begun = await far.read(SOON_S)
            done, _ = await asyncio.wait({writing}, timeout=0.05)
            assert not done, "nobody reads"
            rest = await read_exactly(far, len(part) - len(begun))
            assert digest(begun + rest) == digest(part)
            await writing


class TestWaiting:
    async def test_silence_times_out_and_loses_nothing(self) -> None:
        with stream_pair() as (near, far):
            with pytest.raises(TimeoutError):
                await far.read(0.01)
            await near.write(b"late")
            assert await far.read(SOON_S) == b"late"

    async def test_a_timeout_ends_with_its_read(self) -> None:
        with stream_pair() as (near, far):
            await near.write(b"in time")
            assert await far.read(0.02) == b"in time"
            reading = asyncio.create_task(far.read())
            done, _ = await asyncio.wait({reading}, timeout=0.06)
            assert not done
            await near.write(b"at leisure")
            assert await reading == b"at leisure"

    async def test_a_cancelled_read_loses_nothing(self) -> None:
        with stream_pair() as (near, far):
            reading = asyncio.create_task(far.read())
            await asyncio.sleep(0)
            await near.write(b"precious")
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert await far.read(SOON_S) == b"precious"

    async def test_a_cancelled_writer_leaves_the_stream_to_be_closed(self) -> None:
        with stream_pair(buffers=8192) as (near, far):
            writing = asyncio.create_task(near.write(BULK))
            assert await far.read(SOON_S)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            near.abort()
            with pytest.raises(StreamError, match="reset"):
                await read_all(far)

    async def test_a_second_reader_is_a_defect(self) -> None:
        with stream_pair() as (near, far):
            reading = asyncio.create_task(far.read())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task reads"):
                await far.read()
            await near.write(b"for the first")
            assert await reading == b"for the first"

    async def test_a_second_writer_is_a_defect(self) -> None:
        with stream_pair(buffers=8192) as (near, _):
            writing = asyncio.create_task(near.write(BULK))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task writes"):
                await near.drain()
            near.abort()
            with pytest.raises(StreamError, match="closed"):
                await writing

    async def test_readable_is_told_once_though_nobody_reads(self) -> None:
        with stream_pair() as (near, far):
            told = asyncio.Event()
            far.when_readable(told.set)
            assert not told.is_set()
            await near.write(b"x")
            async with asyncio.timeout(SOON_S):
                await told.wait()
            told.clear()
            await near.close_write()
            assert await read_all(far) == b"x"
            assert not told.is_set()

    async def test_readable_is_told_of_the_end(self) -> None:
        with stream_pair("tls") as (near, far):
            told = asyncio.Event()
            far.when_readable(told.set)
            await near.close_write()
            async with asyncio.timeout(SOON_S):
                await told.wait()
            assert not far.quiet


class TestViews:
    """`read_view` does what `read` does."""

    @both_kinds
    async def test_bulk_arrives_unchanged(self, kind: str) -> None:
        with stream_pair(kind) as (near, far):
            writing = asyncio.create_task(near.write(BULK))
            received = hashlib.sha256()
            largest = count = views = 0
            while count < len(BULK):
                data = await far.read_view(SOON_S)
                views += isinstance(data, memoryview)
                received.update(data)
                count += len(data)
                largest = max(largest, len(data))
            await writing
            assert received.hexdigest() == digest(BULK)
            assert 16384 < largest <= WRITE_PIECE
            assert views, "not copied"

    @both_kinds
    async def test_bytes_before_the_end_are_delivered(self, kind: str) -> None:
        with stream_pair(kind) as (near, far):
            far.unread(b"pushed back")
            assert await far.read_view(SOON_S) == b"pushed back"
            reading = asyncio.create_task(far.read_view(SOON_S))
            await asyncio.sleep(0)
            await near.finish(b"last")
            closing = asyncio.create_task(near.aclose(SOON_S))
            assert bytes(await reading) == b"last"
            assert await far.read_view(SOON_S) == b""
            far.close()
            await closing

    @both_kinds
    async def test_a_read_cancelled_when_it_was_told_loses_nothing(self, kind: str) -> None:
        with stream_pair(kind) as (near, far), stream_pair() as (signal, signalled):
            reading = asyncio.create_task(far.read_view())
            await asyncio.sleep(0)
            signalled.when_readable(cancel_of(reading))
            await near.write(b"precious")
            await signal.write(b"x")
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert bytes(await far.read_view(SOON_S)) == b"precious"

    async def test_a_read_cancelled_when_it_was_told_leaves_the_reset_to_the_next(self) -> None:
        near, far = tcp_pair()
        stream = Stream(near.detach(), PlainSession())
        with stream_pair() as (signal, signalled):
            reading = asyncio.create_task(stream.read_view())
            await asyncio.sleep(0)
            signalled.when_readable(cancel_of(reading))
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            await signal.write(b"x")
            with pytest.raises(asyncio.CancelledError):
                await reading
            with pytest.raises(StreamError, match="reset"):
                await stream.read_view(SOON_S)
        stream.abort()

    async def test_half_a_record_does_not_put_the_timeout_off(self) -> None:
        near, far = tcp_pair()
        session, facing = sessions("tls")
        with far:
            stream = Stream(near.detach(), session)
            record = bytes(facing.send(b"whole"))
            reading = asyncio.create_task(stream.read_view(0.2))
            loop = asyncio.get_running_loop()
            began = loop.time()
            for start in range(len(record) - 1):
                far.send(record[start : start + 1])
                done, _ = await asyncio.wait({reading}, timeout=0.05)
                if done:
                    break
            with pytest.raises(TimeoutError):
                await reading
            assert loop.time() - began < 0.6
            far.send(record[start + 1 :])
            assert bytes(await stream.read_view(SOON_S)) == b"whole"
            stream.abort()

    async def test_no_more_is_read_for_a_slow_peer_than_it_takes(self) -> None:
        with stream_pair() as (source, entry), stream_pair(buffers=8192) as (exit_, sink):
            writing = asyncio.create_task(source.write(BULK))
            relayed = received = most = 0
            while relayed < 1 << 20:
                data = await entry.read_view(SOON_S, exit_)
                relayed += len(data)
                sending = asyncio.create_task(exit_.write(bytes(data)))
                await asyncio.sleep(0)
                most = max(most, exit_.unsent)
                while not sending.done():
                    received += len(await sink.read(SOON_S))
            assert most <= HIGH_WATER + LEAST_APPETITE
            writing.cancel()

    async def test_more_is_read_for_a_peer_that_takes_it(self) -> None:
        with stream_pair() as (source, entry), stream_pair(buffers=4 << 20) as (exit_, sink):
            writing = asyncio.create_task(source.write(BULK))
            reading = asyncio.create_task(read_exactly(sink, len(BULK)))
            relayed = most = 0
            while relayed < len(BULK):
                data = await entry.read_view(SOON_S, exit_)
                relayed += len(data)
                most = max(most, len(data))
                await exit_.write(data, SOON_S)
            assert digest(await reading) == digest(BULK)
            assert most > 4 * LEAST_APPETITE
            await writing

    async def test_others_get_their_turn(self) -> None:
        """However much there is to read."""
        near, far = tcp_pair()
        stream = Stream(near.detach(), PlainSession())
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        with far:
            far.setblocking(True)
            sending = asyncio.create_task(asyncio.to_thread(far.sendall, BULK))
            ticking = asyncio.create_task(others())
            turn_of_read = []
            received = 0
            while received < len(BULK):
                received += len(await stream.read_view(SOON_S))
                turn_of_read.append(turns)
            ticking.cancel()
            await sending
        assert max(Counter(turn_of_read).values()) == 1
        stream.abort()

    async def test_a_second_reader_is_a_defect_of_its_own(self) -> None:
        with stream_pair() as (near, far):
            reading = asyncio.create_task(far.read_view())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await far.read()
            await near.write(b"for the first")
            assert bytes(await reading) == b"for the first"


class TestEnds:
    @both_kinds
    async def test_bytes_before_the_end_are_delivered(self, kind: str) -> None:
        with stream_pair(kind) as (near, far):
            ended = asyncio.Event()
            await near.write(b"last words")
            await near.close_write()
            far.when_readable(ended.set)
            async with asyncio.timeout(SOON_S):
                await ended.wait()
            assert await far.read(SOON_S) == b"last words"
            assert await far.read(SOON_S) == b""

    async def test_fin_without_close_notify_is_a_truncation(self) -> None:
        with stream_pair("tls") as (near, far):
            await near.write(b"half of")
            with socket.socket(fileno=os.dup(near.descriptor)) as raw:
                raw.shutdown(socket.SHUT_WR)
            assert await far.read(SOON_S) == b"half of"
            for _ in range(2):
                with pytest.raises(StreamError) as caught:
                    await far.read(SOON_S)
                assert caught.value.reason == "truncated"

    async def test_data_behind_close_notify_is_ignored(self) -> None:
        with stream_pair("tls") as (near, far):
            session = near.session
            assert isinstance(session, TlsSession)
            whole = bytes(session.send(b"data")) + session.close() + b"\x17\x03\x03\x00\x10junk"
            with socket.socket(fileno=os.dup(near.descriptor)) as raw:
                raw.sendall(whole)
            assert await read_all(far) == b"data"

    @both_kinds
    async def test_a_reset_has_its_name(self, kind: str) -> None:
        with stream_pair(kind) as (near, far):
            near.abort()
            with pytest.raises(StreamError) as caught:
                await far.read(SOON_S)
            assert caught.value.reason == "reset"
            with pytest.raises(StreamError):
                await far.write(b"anyone?")

    @pytest.mark.parametrize("before", [b"", b"whole", BULK[: 3 << 18]], ids=len)
    @both_kinds
    async def test_bytes_before_a_reset_are_delivered(self, kind: str, before: bytes) -> None:
        """The loop may be told of both at once, and (libuv) only once."""
        with stream_pair(kind, buffers=1 << 20) as (near, far):
            reading = asyncio.create_task(far.read(SOON_S))
            await asyncio.sleep(0)
            await near.write(before + b"end")
            assert near.unsent == 0
            with socket.socket(fileno=os.dup(near.descriptor)) as raw:
                raw.send(b"\x17\x03\x03" if kind == "tls" else b"")
            near.abort()
            received = await reading
            while len(received) < len(before) + 3:
                received += await far.read(SOON_S)
            assert received == before + b"end"
            with pytest.raises(StreamError) as caught:
                await far.read(SOON_S)
            assert caught.value.reason == "reset"

    async def test_an_idle_stream_is_told_of_a_reset_behind_half_a_record(self) -> None:
        with stream_pair("tls") as (near, far):
            told = asyncio.Event()
            far.when_readable(told.set)
            with socket.socket(fileno=os.dup(near.descriptor)) as raw:
                raw.send(b"\x17\x03\x03")
            near.abort()
            async with asyncio.timeout(SOON_S):
                await told.wait()

    async def test_a_reset_ends_the_wait_for_the_peers_end(self) -> None:
        with stream_pair() as (near, far):
            await near.write(b"never read")
            closing = asyncio.create_task(far.aclose(SOON_S))
            await asyncio.sleep(0)
            await near.write(b"nor this")
            near.abort()
            began = asyncio.get_running_loop().time()
            await closing
            assert asyncio.get_running_loop().time() - began < SOON_S / 2

    async def test_a_reset_that_a_write_met_is_no_clean_end_for_the_reader(self) -> None:
        near, far = tcp_pair()
        with far:
            stream = Stream(near.detach(), PlainSession())
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            with pytest.raises(StreamError) as caught:
                await stream.write(b"x")
            assert caught.value.reason in {"reset", "broken_pipe"}
            with pytest.raises(StreamError) as caught:
                await stream.read(SOON_S)
            assert caught.value.reason in {"reset", "broken_pipe"}
            stream.abort()

    async def test_a_failed_session_sends_its_alert_and_nothing_else(self) -> None:
        with stream_pair("tls") as (near, far):
            with socket.socket(fileno=os.dup(near.descriptor)) as raw:
                raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            with pytest.raises(StreamError) as caught:
                await far.read(SOON_S)
            assert caught.value.reason == "bad_record_mac"
            with pytest.raises(StreamError) as caught:
                await far.write(b"too late")
            assert caught.value.reason == "bad_record_mac"
            far.abort()
            with pytest.raises(StreamError) as caught:
                await near.read(SOON_S)
            assert caught.value.reason == "peer_alert", "and not a reset that overtook it"

    async def test_an_alert_is_not_overtaken_by_a_reset(self) -> None:
        near, far = tcp_pair()
        with near:
            stream = Stream(far.detach(), sessions("tls")[0])
            near.send(b"\x15\x03\x03\x00\x02no")
            with pytest.raises(StreamError, match="unexpected_record"):
                await stream.read(SOON_S)
            stream.abort()
            near.setblocking(True)
            assert near.recv(100)[:3] == b"\x17\x03\x03", "the alert"
            assert near.recv(100) == b""

    async def test_events_that_wait_in_the_session_are_not_lost(self) -> None:
        """A moved connection may have its request and its end unread in the session."""
        near, far = tcp_pair()
        with far:
            stream = Stream(near.detach(), Prefilled())
            assert await stream.read(SOON_S) == b"request"
            assert await stream.read(SOON_S) == b""
            stream.abort()


class Prefilled(PlainSession):
    """Holds a request and the end from before."""

    __slots__ = ()

    def receive(self, data: memoryview, /) -> Sequence[ApplicationData | CloseNotify]:
        return [] if data else [ApplicationData(b"request"), CloseNotify()]


class TestClosing:
    @both_kinds
    async def test_closing_delivers_what_is_unsent_and_a_clean_end(self, kind: str) -> None:
        with stream_pair(kind, buffers=8192) as (near, far):
            await near.write(BULK[:200_000])
            assert near.unsent > 0
            closing = asyncio.create_task(near.aclose(SOON_S))
            assert await read_all(far) == BULK[:200_000]
            await far.close_write()
            await closing
            assert near.closed
            assert near.descriptor == -1

    @both_kinds
    @pytest.mark.parametrize("size", [0, 200, FINISH_PIECE, FINISH_PIECE + 1, 200_000])
    async def test_the_last_write_and_the_end_arrive(self, kind: str, size: int) -> None:
        with stream_pair(kind, buffers=8192) as (near, far):
            receiving = asyncio.create_task(read_all(far))
            await near.finish(BULK[:size])
            closing = asyncio.create_task(near.aclose(SOON_S))
            assert await receiving == BULK[:size]
            await far.close_write()
            await closing
            assert near.closed

    async def test_the_last_write_and_the_end_are_one_packet(self) -> None:
        near, far = tcp_pair()
        with far:
            stream = Stream(near.detach(), sessions("tls")[0])
            before = segments_in(far)
            await stream.finish(b"bye")
            closing = asyncio.create_task(stream.aclose(SOON_S))
            received = b""
            while data := await asyncio.get_running_loop().sock_recv(far, 4096):
                received += data
            assert len(received) > len(b"bye")
            assert segments_in(far) == before + 1
            far.close()
            await closing

    async def test_nothing_is_written_behind_the_last_write(self) -> None:
        with stream_pair("tls") as (near, _):
            await near.finish(b"bye")
            with pytest.raises(StreamError, match="closed"):
                await near.finish(b"again")

    async def test_a_response_survives_a_request_that_nobody_reads(self) -> None:
        """Closing over unread bytes would reset the connection and take the response along."""
        with stream_pair() as (near, far):
            sending = asyncio.create_task(near.write(BULK, SOON_S))
            assert await far.read(SOON_S)
            await far.write(b"413 too large")
            closing = asyncio.create_task(far.aclose(SOON_S))
            await sending
            assert await read_all(near) == b"413 too large"
            near.close()
            await closing

    async def test_a_peer_that_takes_nothing_is_reset_after_the_time(self) -> None:
        with stream_pair(buffers=8192) as (near, far):
            await near.write(BULK[:HIGH_WATER])
            await near.aclose(0.05)
            assert near.closed
            with pytest.raises(StreamError, match="reset"):
                await read_all(far)

    async def test_a_peer_that_stays_is_left_after_the_time(self) -> None:
        with stream_pair() as (near, far):
            await near.aclose(0.05)
            assert near.closed
            assert await far.read(SOON_S) == b""

    @both_kinds
    async def test_close_is_polite_and_immediate(self, kind: str) -> None:
        with stream_pair(kind) as (near, far):
            await near.write(b"done")
            near.close()
            near.close()
            assert near.closed
            assert await read_all(far) == b"done"

    async def test_close_with_bytes_unsent_is_a_reset(self) -> None:
        with stream_pair(buffers=8192) as (near, far):
            await near.write(BULK[:HIGH_WATER])
            assert near.unsent > 0
            near.close()
            with pytest.raises(StreamError, match="reset"):
                await read_all(far)

    async def test_whoever_waits_is_told(self) -> None:
        with stream_pair(buffers=8192) as (near, far):
            reading = asyncio.create_task(near.read())
            writing = asyncio.create_task(near.write(BULK))
            assert await far.read(SOON_S)
            near.abort()
            for task in (reading, writing):
                with pytest.raises(StreamError) as caught:
                    await task
                assert caught.value.reason == "closed"
            with pytest.raises(StreamError, match="closed"):
                await near.read()
            with pytest.raises(StreamError, match="closed"):
                await near.write(b"x")
            await near.aclose(SOON_S)


class TestDetaching:
    @both_kinds
    async def test_a_connection_leaves_and_goes_on_elsewhere(self, kind: str) -> None:
        with stream_pair(kind, buffers=8192) as (near, far):
            await far.write(b"unread")
            told = asyncio.Event()
            near.when_readable(told.set)
            async with asyncio.timeout(SOON_S):
                await told.wait()
            await near.write(BULK[:HIGH_WATER])
            parts = near.detach()
            assert near.closed
            assert parts.unread == b"unread"
            assert parts.unsent
            moved = Stream(
                parts.descriptor, parts.session, received=parts.unread, unsent=parts.unsent
            )
            await moved.write(b"the end")
            assert await moved.read(SOON_S) == b"unread"
            expected = BULK[:HIGH_WATER] + b"the end"
            assert await read_exactly(far, len(expected)) == expected
            moved.abort()

    async def test_not_while_a_task_waits_or_when_a_direction_ended(self) -> None:
        with stream_pair() as (near, far):
            reading = asyncio.create_task(near.read())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="a task waits"):
                near.detach()
            await far.close_write()
            assert await reading == b""
            with pytest.raises(RuntimeError, match="only an open connection"):
                near.detach()


class Broken(PlainSession):
    """A session with a defect."""

    __slots__ = ()

    def receive(self, data: memoryview, /) -> Sequence[ApplicationData | CloseNotify]:
        if data:
            raise ZeroDivisionError("defect")
        return ()


async def test_a_defect_in_one_stream_leaves_the_others_alone() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    near, far = tcp_pair()
    broken = Stream(near.detach(), Broken())
    with far, stream_pair() as (good, facing):
        reading = asyncio.create_task(broken.read(SOON_S))
        good_reading = asyncio.create_task(good.read(SOON_S))
        await asyncio.sleep(0)
        far.send(b"x")
        await facing.write(b"x")
        with pytest.raises(StreamError) as caught:
            await reading
        assert caught.value.reason == "internal_error"
        assert await good_reading == b"x"
        for _ in range(10):
            await facing.write(b"x")
            assert await good.read(SOON_S) == b"x"
    broken.abort()
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]


async def test_a_peer_that_fetches_no_answers_does_not_grow_our_memory() -> None:
    class Indebted(PlainSession):
        """Owes more with every byte."""

        __slots__ = ()

        def data_to_send(self) -> bytes:
            return bytes(16_384)

    async def read_to_the_failure(stream: Stream) -> str:
        try:
            while True:
                await stream.read()
        except StreamError as error:
            return error.reason

    near, far = tcp_pair(buffers=16384)
    stream = Stream(near.detach(), Indebted())
    loop = asyncio.get_running_loop()
    with far:
        reading = asyncio.create_task(read_to_the_failure(stream))
        while not reading.done():
            await loop.sock_sendall(far, b"x")
            await asyncio.sleep(0)
            assert stream.unsent <= MAX_OWED + 16_384
        assert await reading == "answers_not_fetched"
        stream.abort()
