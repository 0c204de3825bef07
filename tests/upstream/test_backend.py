"""A group of servers at work: kept connections, limits, waiting, failures and recovery."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.upstream import (
    Backend,
    BackendSettings,
    BackendTls,
    ConnectFailed,
    Lease,
    NoServerAvailable,
    ServerAddress,
    VerifyFailed,
)
from proxy.upstream.tls import SslSession
from tests.certs import ThrowAwayCa
from tests.peers import Nginx, free_port
from tests.upstream.exchange import (
    SOON_S,
    Record,
    address_of,
    eventually,
    get,
    listening,
    no_descriptors,
    trusting,
)


def cleartext(*servers: ServerAddress, **more: object) -> BackendSettings:
    return BackendSettings(name="app", servers=servers, **more)  # type: ignore[arg-type]


def dead() -> ServerAddress:
    """Nobody listens there."""
    return ServerAddress.parse(f"http://127.0.0.1:{free_port()}")


async def leased(backend: Backend) -> Lease:
    async with asyncio.timeout(SOON_S):
        return await backend.acquire()


async def waiting(backend: Backend, count: int = 1) -> list[asyncio.Task[Lease]]:
    """Tasks that wait for a connection, in this order."""
    tasks = [asyncio.create_task(backend.acquire()) for _ in range(count)]
    await eventually(lambda: backend.waiting == count)
    return tasks


class TestKept:
    @pytest.mark.requirement("A32")
    async def test_nothing_is_dialled_before_it_is_asked_for(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address))
            await asyncio.sleep(0)
            assert server.count == 0
            (await leased(backend)).discard()
            await eventually(lambda: server.count == 1)
            backend.close()

    async def test_a_connection_carries_many_exchanges(
        self, tmp_path: Path, ca: ThrowAwayCa
    ) -> None:
        async with Nginx(tmp_path, certificate=ca.issue(["127.0.0.1"])) as nginx:
            record = Record()
            backend = Backend(trusting(ca, address_of(nginx)), record)
            seen = []
            for _ in range(3):
                lease = await leased(backend)
                _connection, exchange, _resumed = (await get(lease.stream)).split()
                seen.append((lease.reused, exchange))
                lease.release()
            assert seen == [(False, "1"), (True, "2"), (True, "3")]
            assert record.dials == [(nginx.url, "ok", False)]
            assert lease.server == address_of(nginx)
            (state,) = backend.state()
            assert (state.in_use, state.idle, state.in_rotation) == (0, 1, True)
            backend.close()
            assert backend.state()[0].idle == 0

    async def test_the_second_connection_resumes_the_first_ones_session(
        self, tmp_path: Path, ca: ThrowAwayCa
    ) -> None:
        async with Nginx(tmp_path, certificate=ca.issue(["127.0.0.1"])) as nginx:
            record = Record()
            backend = Backend(trusting(ca, address_of(nginx)), record)
            first = await leased(backend)
            await get(first.stream)
            first.release()
            first = await leased(backend)
            second = await leased(backend)
            assert (await get(second.stream)).endswith(" r")
            assert record.dials == [(nginx.url, "ok", False), (nginx.url, "ok", True)]
            first.discard()
            second.discard()
            backend.close()

    async def test_a_certificate_is_checked_anew_when_its_last_check_is_old(
        self, tmp_path: Path, ca: ThrowAwayCa, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.upstream.backend.VERIFIED_FOR_S", 0.0)
        async with Nginx(tmp_path, certificate=ca.issue(["127.0.0.1"])) as nginx:
            backend = Backend(trusting(ca, address_of(nginx)))
            first = await leased(backend)
            await get(first.stream)
            first.release()
            first = await leased(backend)
            second = await leased(backend)
            assert (await get(second.stream)).endswith(" .")
            first.discard()
            second.discard()
            backend.close()

    async def test_a_servers_session_is_not_read_with_each_connection(
        self, tmp_path: Path, ca: ThrowAwayCa, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[SslSession] = []

        def resumable(session: SslSession) -> None:
            read.append(session)

        monkeypatch.setattr(SslSession, "resumable", property(resumable))
        async with Nginx(tmp_path, certificate=ca.issue(["127.0.0.1"])) as nginx:
            backend = Backend(trusting(ca, address_of(nginx)))
            for _ in range(3):
                (await leased(backend)).discard()
            assert len(read) == 1
            backend.close()

    @pytest.mark.parametrize(
        "sent", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"], ids=["fin", "junk"]
    )
    async def test_an_idle_connection_on_which_anything_happens_is_dropped(
        self, sent: bytes
    ) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address))
            (await leased(backend)).release()
            reader, writer = await server.accepted.get()
            assert backend.state()[0].idle == 1
            if sent:
                writer.write(sent)
            else:
                writer.write_eof()
            await eventually(lambda: backend.state()[0].idle == 0)
            assert await reader.read() == b"", "closed on our side too"
            lease = await leased(backend)
            assert not lease.reused
            lease.discard()
            backend.close()

    async def test_bytes_behind_a_response_end_the_connection(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address))
            lease = await leased(backend)
            _, writer = await server.accepted.get()
            writer.write(b"response and something behind it")
            lease.stream.unread((await lease.stream.read(SOON_S))[8:])
            lease.release()
            (state,) = backend.state()
            assert (state.in_use, state.idle) == (0, 0)
            backend.close()

    async def test_bytes_that_the_loop_has_not_seen_yet_answer_nobody(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address))
            (await leased(backend)).release()
            _, writer = await server.accepted.get()
            # Without a turn of the loop between them: acquire() must not wait either.
            os.write(writer.get_extra_info("socket").fileno(), b"HTTP/1.1 200 OK\r\n\r\n")
            lease = await leased(backend)
            assert not lease.reused
            lease.discard()
            backend.close()

    async def test_an_idle_connection_expires(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address, idle_timeout_s=0.05))
            first, second = await leased(backend), await leased(backend)
            first.release()
            second.release()
            for _ in range(2):
                reader, _ = await server.accepted.get()
                async with asyncio.timeout(SOON_S):
                    assert await reader.read() == b""
            assert backend.state()[0].idle == 0
            lease = await leased(backend)
            assert not lease.reused
            lease.release()
            reader, _ = await server.accepted.get()
            async with asyncio.timeout(SOON_S):
                assert await reader.read() == b"", "the timer runs again"
            backend.close()

    async def test_no_more_idle_than_allowed(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address, max_idle=1))
            leases = [await leased(backend) for _ in range(3)]
            for lease in leases:
                lease.release()
            assert backend.state()[0].idle == 1
            assert not leases[2].stream.closed, "the newest stays"
            backend.close()
            assert leases[2].stream.closed

    async def test_a_lease_ends_once(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address))
            lease = await leased(backend)
            lease.release()
            for end in (lease.release, lease.discard, lease.failed):
                with pytest.raises(RuntimeError, match="has ended"):
                    end()
            backend.close()


class TestLimits:
    async def test_who_waits_gets_the_connection_that_comes_back(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address, max_connections=1))
            lease = await leased(backend)
            first, second = await waiting(backend, 2)
            lease.release()
            got = await first
            assert got.reused
            assert got.stream is lease.stream
            assert not second.done(), "in order"
            got.discard()
            fresh = await second
            assert not fresh.reused, "its place was free, the connection gone"
            fresh.discard()
            assert backend.state()[0].in_use == 0
            backend.close()

    async def test_a_server_that_returns_serves_first_who_waited_first(self) -> None:
        gone = dead()
        async with listening() as server:
            backend = Backend(
                cleartext(gone, server.address, max_connections=1, failures=1, set_aside_s=0.05)
            )
            lease = await leased(backend)
            (first,) = await waiting(backend)
            done, _ = await asyncio.wait({first}, timeout=0.1)
            assert not done, "one server is full, the other was set aside"
            async with listening(gone.port):
                late = asyncio.create_task(backend.acquire())
                other = await first
                assert other.server == gone
                assert not late.done()
                lease.release()
                last = await late
                assert last.stream is lease.stream
                last.discard()
                other.discard()
            backend.close()

    async def test_the_queue_is_bounded(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address, max_connections=1, max_waiting=1))
            lease = await leased(backend)
            (first,) = await waiting(backend)
            with pytest.raises(NoServerAvailable) as caught:
                await backend.acquire()
            assert caught.value.reason == "queue_full"
            lease.release()
            (await first).release()
            backend.close()

    async def test_the_wait_is_bounded(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address, max_connections=1, wait_timeout_s=0.02))
            lease = await leased(backend)
            with pytest.raises(NoServerAvailable) as caught:
                await backend.acquire()
            assert caught.value.reason == "queue_timeout"
            assert backend.waiting == 0
            lease.release()
            (await leased(backend)).release()
            backend.close()

    async def test_a_waiter_that_gives_up_passes_on_what_it_got(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address, max_connections=1))
            lease = await leased(backend)
            first, second, third = await waiting(backend, 3)
            second.cancel()
            lease.release()
            first.cancel()  # it was given the connection and does not know yet
            got = await third
            assert got.stream is lease.stream
            assert first.cancelled()
            assert second.cancelled()
            got.release()
            assert (backend.state()[0].in_use, backend.state()[0].idle) == (0, 1)
            backend.close()

    async def test_a_cancelled_dial_gives_its_place_back(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address, max_connections=1))
            dialling = asyncio.create_task(backend.acquire())
            (waits,) = await waiting(backend)
            dialling.cancel()
            (await waits).release()
            assert dialling.cancelled()
            backend.close()

    async def test_a_connection_that_broke_on_its_way_to_a_waiter(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address, max_connections=1))
            lease = await leased(backend)
            (first,) = await waiting(backend)
            lease.release()
            lease.stream.abort()
            got = await first
            assert not got.reused
            assert backend.state()[0].in_use == 1
            got.release()
            backend.close()

    async def test_a_closed_group_refuses(self) -> None:
        async with listening() as server:
            backend = Backend(cleartext(server.address, max_connections=1))
            lease = await leased(backend)
            (first,) = await waiting(backend)
            backend.close()
            with pytest.raises(NoServerAvailable) as caught:
                await first
            assert caught.value.reason == "closed"
            with pytest.raises(NoServerAvailable):
                await backend.acquire()
            lease.release()
            assert lease.stream.closed, "nothing is kept any more"


class TestFailures:
    async def test_requests_go_round(self) -> None:
        async with listening() as one, listening() as other:
            backend = Backend(cleartext(one.address, other.address))
            leases = [await leased(backend) for _ in range(4)]
            assert [lease.server for lease in leases] == [one.address, other.address] * 2
            for lease in leases:
                lease.discard()
            backend.close()

    async def test_a_dead_server_is_passed_over_then_set_aside(self) -> None:
        async with listening() as server:
            record, gone = Record(), dead()
            backend = Backend(cleartext(gone, server.address), record)
            for _ in range(10):
                lease = await leased(backend)
                assert lease.server == server.address
                lease.release()
            refused = [dial for dial in record.dials if dial[1] == "refused"]
            assert len(refused) == 3, "as often as it takes, then no more"
            assert record.asides == [(str(gone), 10.0)]
            assert [state.in_rotation for state in backend.state()] == [False, True]
            backend.close()

    async def test_a_server_that_came_back_is_found(self) -> None:
        record, gone = Record(), dead()
        async with listening() as server:
            backend = Backend(cleartext(gone, server.address, failures=1, set_aside_s=0.05), record)
            (await leased(backend)).release()
            assert record.asides == [(str(gone), 0.05)]
            async with listening(gone.port) as back, asyncio.timeout(SOON_S):
                while not back.count:
                    (await backend.acquire()).release()
                    await asyncio.sleep(0)
                assert record.returns == [str(gone)]
                assert all(state.in_rotation for state in backend.state())
            backend.close()

    async def test_all_set_aside_are_tried_all_the_same(self) -> None:
        record, gone, lost = Record(), dead(), dead()
        backend = Backend(cleartext(gone, lost, failures=1, set_aside_s=60.0), record)
        with pytest.raises(ConnectFailed):
            await backend.acquire()
        assert {server for server, _ in record.asides} == {str(gone), str(lost)}
        tried = len(record.dials)
        with pytest.raises(ConnectFailed):
            await backend.acquire()
        assert len(record.dials) > tried, "asked again, not refused from memory"
        async with listening(gone.port), listening(lost.port):
            lease = await leased(backend)
            lease.release()
            assert record.returns == [str(lease.server)]
        backend.close()

    async def test_a_request_is_not_tried_on_servers_without_end(self) -> None:
        record = Record()
        backend = Backend(cleartext(*(dead() for _ in range(5)), connect_attempts=2), record)
        with pytest.raises(ConnectFailed):
            await backend.acquire()
        assert len(record.dials) == 2
        backend.close()

    async def test_a_server_that_does_not_verify_counts_as_failed(
        self, tmp_path: Path, ca: ThrowAwayCa
    ) -> None:
        async with Nginx(tmp_path, certificate=ca.issue(["other.example"])) as nginx:
            record = Record()
            backend = Backend(trusting(ca, address_of(nginx), failures=1), record)
            with pytest.raises(VerifyFailed):
                await backend.acquire()
            assert record.dials == [(nginx.url, "name_mismatch", False)]
            assert len(record.asides) == 1
            backend.close()

    async def test_our_own_want_is_not_the_servers_failure(self) -> None:
        async with listening() as server:
            record = Record()
            backend = Backend(cleartext(server.address, failures=1), record)
            with no_descriptors(), pytest.raises(ConnectFailed):
                await backend.acquire()
            assert record.dials == [(str(server.address), "no_descriptors", False)]
            assert record.asides == []
            backend.close()

    async def test_a_session_that_a_server_cannot_cope_with_is_not_offered_again(
        self, tmp_path: Path, ca: ThrowAwayCa
    ) -> None:
        async with Nginx(tmp_path, certificate=ca.issue(["127.0.0.1"])) as nginx:
            backend = Backend(trusting(ca, address_of(nginx)))
            lease = await leased(backend)
            await get(lease.stream)
            lease.release()
        async with listening(nginx.port) as server:
            hellos = []
            for _ in range(2):
                dialling = asyncio.create_task(backend.acquire())
                reader, writer = await server.accepted.get()
                hellos.append(await reader.read(100_000))
                writer.close()
                with pytest.raises(ConnectFailed, match="closed during the handshake"):
                    await dialling
            with_ticket, without = map(len, hellos)
            assert with_ticket > without
            backend.close()

    async def test_resets_before_a_response_count_unless_the_connection_was_used_before(
        self,
    ) -> None:
        async with listening() as server:
            record = Record()
            backend = Backend(cleartext(server.address, failures=1), record)
            (await leased(backend)).release()
            stale = await leased(backend)
            assert stale.reused
            stale.failed()
            assert record.asides == []
            fresh = await leased(backend)
            assert not fresh.reused
            fresh.failed()
            assert len(record.asides) == 1
            backend.close()

    async def test_an_answer_makes_failures_forgotten(self) -> None:
        async with listening() as server:
            record = Record()
            backend = Backend(cleartext(server.address, failures=2), record)
            for _ in range(3):
                (await leased(backend)).failed()
                lease = await leased(backend)
                lease.responded()
                lease.discard()
            assert record.asides == []
            backend.close()

    async def test_waiting_ends_with_the_failure_when_no_server_is_left(self) -> None:
        record, gone = Record(), dead()
        backend = Backend(cleartext(gone, max_connections=1, max_waiting=100), record)
        outcomes = await asyncio.gather(
            *(backend.acquire() for _ in range(20)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {ConnectFailed}
        assert (backend.waiting, backend.state()[0].in_use) == (0, 0)
        backend.close()


def test_trust_anchors_are_read_at_start_and_only_for_https(tmp_path: Path) -> None:
    settings = cleartext(
        ServerAddress.parse("https://127.0.0.1"), tls=BackendTls(ca_file=str(tmp_path / "none"))
    )
    with pytest.raises(ValueError, match="trust anchors"):
        Backend(settings)
    Backend(replace(settings, servers=(ServerAddress.parse("http://127.0.0.1"),)))
