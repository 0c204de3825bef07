"""Pairs of streams over real loopback connections, in cleartext and under our own TLS."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from proxy.edge import PlainSession, Session, Stream, TlsSession
from proxy.tls import Connection, Established, Secret
from proxy.wire import CipherSuite, NamedGroup

KINDS = ("plain", "tls")


def tcp_pair(*, buffers: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Two connected non-blocking TCP sockets, with small kernel buffers on request (bytes)."""
    with socket.socket() as listener:
        if buffers is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        near = socket.socket()
        if buffers is not None:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


def sessions(kind: str) -> tuple[Session, Session]:
    """Two sessions that understand each other."""
    if kind == "plain":
        return PlainSession(), PlainSession()
    one, other = Secret(os.urandom(32)), Secret(os.urandom(32))
    return (
        TlsSession(Connection(_established(one, other))),
        TlsSession(Connection(_established(other, one))),
    )


@contextlib.contextmanager
def stream_pair(
    kind: str = "plain", *, buffers: int | None = None
) -> Iterator[tuple[Stream, Stream]]:
    """Two streams that face each other; aborted at the end if still open."""
    near, far = tcp_pair(buffers=buffers)
    session, facing = sessions(kind)
    streams = Stream(near.detach(), session), Stream(far.detach(), facing)
    try:
        yield streams
    finally:
        for stream in streams:
            stream.abort()


def _established(read: Secret, write: Secret) -> Established:
    return Established(
        suite=CipherSuite.TLS_AES_128_GCM_SHA256,
        group=NamedGroup.X25519,
        server_name="example.org",
        alpn=None,
        name_index=0,
        read_secret=read,
        read_sequence=0,
        write_secret=write,
        write_sequence=0,
    )
