"""One connection to one server: name, TCP, TLS, under one deadline.

Rules: every address of a name is tried in turn, each with its share of the time that is left,
so that one that does not answer cannot use up all of it. A TLS failure is final: it is the
server's, not the address's. Whatever fails, no descriptor is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final

from proxy.edge import PlainSession, SessionError, Stream
from proxy.upstream.errors import ConnectFailed, ConnectTimeout, VerifyFailed
from proxy.upstream.settings import ServerAddress
from proxy.upstream.tls import CertificateRefused, SslSession

Address = tuple[int, tuple[Any, ...] | str]
"""Address family and what connect() takes for it."""

_RECEIVE_BYTES: Final = 64 * 1024

_REASONS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "tcp_timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENOENT: "no_such_socket",
    errno.EACCES: "not_permitted",
    errno.EPERM: "not_permitted",
}

_OURS: Final = {
    errno.EMFILE: "no_descriptors",
    errno.ENFILE: "no_descriptors",
    errno.EADDRNOTAVAIL: "no_local_ports",
    errno.ENOBUFS: "no_buffers",
    errno.ENOMEM: "no_buffers",
}
"""What we lack ourselves: no reason to think worse of the server."""


async def connect(
    server: ServerAddress,
    timeout_s: float,
    context: ssl.SSLContext | None = None,
    *,
    server_name: str | None = None,
    resume: ssl.SSLSession | None = None,
) -> Stream:
    """Connect, and with a `context` complete the TLS handshake (as `server_name`, else host).

    Raises ConnectFailed, ConnectTimeout and VerifyFailed. The stream's session is an
    `SslSession` or a `PlainSession`.
    """
    sock: socket.socket | None = None
    try:
        async with asyncio.timeout(timeout_s):
            sock = await _connect_tcp(server, timeout_s)
            if context is None:
                return Stream(sock.detach(), PlainSession())
            session = _session(server, context, server_name, resume)
            await _handshake(sock, session, server)
            return Stream(sock.detach(), session)
    except TimeoutError as error:
        stage = "tcp" if sock is None else "tls"
        message = f"{server}: no {stage} connection within {timeout_s:g} s"
        raise ConnectTimeout(f"{stage}_connect_timeout", message, server) from error
    except OSError as error:
        raise _failed(server, error) from error
    finally:
        if sock is not None:
            sock.close()  # of a detached socket: nothing


async def _connect_tcp(server: ServerAddress, timeout_s: float) -> socket.socket:
    deadline = asyncio.get_running_loop().time() + timeout_s
    return await connect_first(await _resolve(server), deadline)


async def connect_first(addresses: Sequence[Address], deadline: float) -> socket.socket:
    """The first connection that comes about until the deadline (loop time).

    Raises the last address's OSError.
    """
    loop = asyncio.get_running_loop()
    failure: OSError = OSError(errno.EADDRNOTAVAIL, "no address")
    for tried, (family, address) in enumerate(addresses):
        share = (deadline - loop.time()) / (len(addresses) - tried)
        try:
            async with asyncio.timeout(share):
                return await _connect_one(family, address)
        except OSError as error:  # TimeoutError is one
            failure = error
    raise failure


async def _connect_one(family: int, address: tuple[Any, ...] | str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family != socket.AF_UNIX:
            # Heads and bodies leave in pieces of ours: waiting for more only costs time.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _resolve(server: ServerAddress) -> list[Address]:
    if server.unix_path is not None:
        return [(socket.AF_UNIX, server.unix_path)]
    with contextlib.suppress(ValueError):
        version = ipaddress.ip_address(server.host).version
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        return [(family, (server.host, server.port))]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except (socket.gaierror, UnicodeError) as error:
        raise ConnectFailed("name_not_found", f"{server}: {error}", server) from error
    return [(family, address) for family, _, _, _, address in found]


def _session(
    server: ServerAddress,
    context: ssl.SSLContext,
    server_name: str | None,
    resume: ssl.SSLSession | None,
) -> SslSession:
    # The zone of a link-local address is ours alone; no certificate names it.
    name = server_name or ("localhost" if server.unix_path else server.host.partition("%")[0])
    try:
        return SslSession(context, name, resume)
    except ValueError as error:
        raise ConnectFailed("bad_server_name", f"{server}: {name!r}: {error}", server) from error


async def _handshake(sock: socket.socket, session: SslSession, server: ServerAddress) -> None:
    loop = asyncio.get_running_loop()
    data = b""
    done = False
    while not done:
        try:
            done = session.handshake(data)
        except SessionError as error:
            with contextlib.suppress(OSError):  # the alert is a courtesy
                sock.send(session.data_to_send())
            message = f"{server}: {error}"
            if isinstance(error, CertificateRefused):
                raise VerifyFailed(error.reason, message, server) from error
            raise ConnectFailed(error.reason, message, server) from error
        owed = session.data_to_send()
        if owed:
            await loop.sock_sendall(sock, owed)
        if not done:
            data = await loop.sock_recv(sock, _RECEIVE_BYTES)
            if not data:
                raise ConnectFailed("tls_eof", f"{server}: closed during the handshake", server)


def _failed(server: ServerAddress, error: OSError) -> ConnectFailed:
    code = error.errno or 0
    message = f"{server}: {error}"
    if code in _OURS:
        return ConnectFailed(_OURS[code], message, server, ours=True)
    return ConnectFailed(_REASONS.get(code, "connect_failed"), message, server)
