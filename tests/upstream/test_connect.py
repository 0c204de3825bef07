"""Connecting to real servers: nginx, `openssl s_server` and bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.edge import PlainSession, StreamError
from proxy.upstream import (
    BackendTls,
    ConnectFailed,
    ConnectTimeout,
    ServerAddress,
    SslSession,
    VerifyFailed,
    client_context,
    connect,
)
from proxy.upstream.connect import connect_first
from tests.certs import ThrowAwayCa
from tests.peers import Nginx, OpensslServer, free_port
from tests.upstream.exchange import SOON_S, address_of, eventually, get, no_descriptors


@pytest.fixture
def context(ca: ThrowAwayCa) -> ssl.SSLContext:
    return client_context(BackendTls(ca_pem=ca.pem))


@pytest.fixture
def silent() -> Iterator[ServerAddress]:
    """A server that accepts connections (its kernel does) and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield ServerAddress.parse(f"https://127.0.0.1:{listener.getsockname()[1]}")


@pytest.fixture
def swallowing() -> Iterator[tuple[str, int]]:
    """An address whose queue is full: the kernel drops every further SYN."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        host, port = listener.getsockname()
        yield host, port


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def https(host: str, port: int) -> ServerAddress:
    return ServerAddress(scheme="https", host=host, port=port)


class TestConnected:
    @pytest.mark.parametrize("key", ["ecdsa-p256", "rsa-2048"])
    async def test_https(
        self, tmp_path: Path, ca: ThrowAwayCa, context: ssl.SSLContext, key: str
    ) -> None:
        async with Nginx(tmp_path, certificate=ca.issue(["127.0.0.1"], key=key)) as nginx:
            stream = await connect(address_of(nginx), SOON_S, context)
            assert isinstance(stream.session, SslSession)
            assert (stream.session.version, stream.session.alpn) == ("TLSv1.3", "http/1.1")
            assert await get(stream, "/") == "hello from nginx\n"
            await stream.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while await stream.read(SOON_S):
                pass
            assert not stream.quiet, "ended cleanly: nginx sent close_notify"
            stream.close()

    async def test_tls_1_2(self, tmp_path: Path, ca: ThrowAwayCa, context: ssl.SSLContext) -> None:
        certificate = ca.issue(["127.0.0.1"])
        async with OpensslServer(tmp_path, certificate, ["-tls1_2", "-www"]) as server:
            stream = await connect(address_of(server), SOON_S, context)
            assert isinstance(stream.session, SslSession)
            assert stream.session.version == "TLSv1.2"
            await stream.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await stream.read(SOON_S)).startswith(b"HTTP/1.0 200")
            stream.close()

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    async def test_cleartext_by_both_address_families(self, tmp_path: Path, host: str) -> None:
        async with Nginx(tmp_path, host=host) as nginx:
            server = ServerAddress(scheme="http", host=host, port=nginx.port)
            stream = await connect(server, SOON_S)
            assert isinstance(stream.session, PlainSession)
            assert await get(stream, "/") == "hello from nginx\n"
            stream.close()

    async def test_by_name(self, tmp_path: Path, ca: ThrowAwayCa, context: ssl.SSLContext) -> None:
        async with Nginx(tmp_path, certificate=ca.issue(["localhost"])) as nginx:
            stream = await connect(https("localhost", nginx.port), SOON_S, context)
            assert await get(stream, "/") == "hello from nginx\n"
            stream.close()

    async def test_by_a_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "app.sock"

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(100))
            writer.close()

        async with await asyncio.start_unix_server(echo, path):
            stream = await connect(ServerAddress.parse(f"http://unix:{path}"), SOON_S)
            await stream.write(b"hello")
            assert await stream.read(SOON_S) == b"hello"
            stream.close()

    async def test_a_session_is_resumed(
        self, tmp_path: Path, ca: ThrowAwayCa, context: ssl.SSLContext
    ) -> None:
        async with Nginx(tmp_path, certificate=ca.issue(["127.0.0.1"])) as nginx:
            first = await connect(address_of(nginx), SOON_S, context)
            assert (await get(first)).endswith(" .")
            assert isinstance(first.session, SslSession)
            resume = first.session.resumable
            assert resume is not None
            second = await connect(address_of(nginx), SOON_S, context, resume=resume)
            assert isinstance(second.session, SslSession)
            assert second.session.resumed
            assert (await get(second)).endswith(" r"), "nginx agrees"
            first.close()
            second.close()


class TestRefused:
    async def test_verification_has_its_own_error(
        self, tmp_path: Path, ca: ThrowAwayCa, context: ssl.SSLContext
    ) -> None:
        async with Nginx(tmp_path, certificate=ca.issue(["other.example"])) as nginx:
            server = address_of(nginx)
            with pytest.raises(VerifyFailed, match=r"other|mismatch") as caught:
                await connect(server, SOON_S, context)
            assert (caught.value.reason, caught.value.server) == ("name_mismatch", server)
            system = client_context(BackendTls())
            with pytest.raises(VerifyFailed) as caught:
                await connect(server, SOON_S, system, server_name="other.example")
            assert caught.value.reason == "unknown_ca"
            stream = await connect(server, SOON_S, context, server_name="other.example")
            stream.close()

    async def test_nobody_listens(self) -> None:
        server = ServerAddress.parse(f"http://127.0.0.1:{free_port()}")
        with pytest.raises(ConnectFailed) as caught:
            await connect(server, SOON_S)
        assert (caught.value.reason, caught.value.ours) == ("refused", False)

    async def test_no_such_name(self) -> None:
        with pytest.raises(ConnectFailed) as caught:
            await connect(ServerAddress.parse("http://name.invalid"), SOON_S)
        assert caught.value.reason == "name_not_found"

    @pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b"])
    async def test_no_name_at_all(self, host: str) -> None:
        with pytest.raises(ConnectFailed) as caught:
            await connect(ServerAddress(scheme="http", host=host, port=80), SOON_S)
        assert caught.value.reason == "name_not_found"

    async def test_no_such_socket(self, tmp_path: Path) -> None:
        with pytest.raises(ConnectFailed) as caught:
            await connect(ServerAddress.parse(f"http://unix:{tmp_path}/none"), SOON_S)
        assert caught.value.reason == "no_such_socket"

    async def test_a_server_that_speaks_no_tls(
        self, tmp_path: Path, context: ssl.SSLContext
    ) -> None:
        async with Nginx(tmp_path) as nginx:
            with pytest.raises(ConnectFailed, match="WRONG_VERSION_NUMBER") as caught:
                await connect(address_of(nginx), SOON_S, context)
            assert caught.value.reason == "tls_handshake"

    async def test_a_server_that_hangs_up(self, context: ssl.SSLContext) -> None:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _.read(100_000)
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ConnectFailed) as caught:
                await connect(https("127.0.0.1", port), SOON_S, context)
        assert caught.value.reason == "tls_eof"

    async def test_our_own_want_of_descriptors_is_not_the_servers(self) -> None:
        with no_descriptors(), pytest.raises(ConnectFailed) as caught:
            await connect(ServerAddress.parse("http://127.0.0.1:1"), SOON_S)
        assert (caught.value.reason, caught.value.ours) == ("no_descriptors", True)


class TestDeadline:
    async def test_a_server_that_says_nothing(
        self, silent: ServerAddress, context: ssl.SSLContext
    ) -> None:
        before = open_descriptors()
        with pytest.raises(ConnectTimeout) as caught:
            await connect(silent, 0.05, context)
        assert caught.value.reason == "tls_connect_timeout"
        assert open_descriptors() == before, "no descriptor is left"

    async def test_an_address_that_does_not_answer(self, swallowing: tuple[str, int]) -> None:
        with pytest.raises(ConnectTimeout) as caught:
            await connect(https(*swallowing), 0.05)
        assert caught.value.reason == "tcp_connect_timeout"

    async def test_cancelled_leaves_no_descriptor(
        self, silent: ServerAddress, context: ssl.SSLContext
    ) -> None:
        before = open_descriptors()
        connecting = asyncio.create_task(connect(silent, SOON_S, context))
        await eventually(lambda: open_descriptors() > before)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert open_descriptors() == before

    async def test_the_next_address_gets_its_share_of_the_time(
        self, silent: ServerAddress, swallowing: tuple[str, int]
    ) -> None:
        good = ("127.0.0.1", silent.port)
        addresses = [(socket.AF_INET, address) for address in (swallowing, good)]
        deadline = asyncio.get_running_loop().time() + 0.5
        with await connect_first(addresses, deadline) as sock:
            assert sock.getpeername() == good
        assert asyncio.get_running_loop().time() < deadline

    async def test_a_refusal_is_followed_by_the_next_address(self, silent: ServerAddress) -> None:
        good = ("127.0.0.1", silent.port)
        addresses = [(socket.AF_INET, ("127.0.0.1", free_port())), (socket.AF_INET, good)]
        with await connect_first(addresses, asyncio.get_running_loop().time() + SOON_S) as sock:
            assert sock.getpeername() == good


class TestEnds:
    async def test_a_killed_server_truncates(
        self, tmp_path: Path, ca: ThrowAwayCa, context: ssl.SSLContext
    ) -> None:
        """The kernel sends FIN for a dead process, and no close_notify."""
        async with OpensslServer(tmp_path, ca.issue(["127.0.0.1"]), ["-rev"]) as server:
            stream = await connect(address_of(server), SOON_S, context)
            await stream.write(b"stressed\n")
            assert await stream.read(SOON_S) == b"desserts\n", "all that we sent was read"
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(StreamError) as caught:
                await stream.read(SOON_S)
            assert caught.value.reason == "truncated"
            stream.abort()

    async def test_a_server_can_be_answered_after_it_ended(
        self, tmp_path: Path, ca: ThrowAwayCa, context: ssl.SSLContext
    ) -> None:
        """`-rev` answers each line reversed; at our close_notify it ends its own direction."""
        async with OpensslServer(tmp_path, ca.issue(["127.0.0.1"]), ["-rev"]) as server:
            stream = await connect(address_of(server), SOON_S, context)
            await stream.write(b"stressed\n")
            assert await stream.read(SOON_S) == b"desserts\n"
            await stream.close_write(SOON_S)
            assert await stream.read(SOON_S) == b""
            stream.close()
