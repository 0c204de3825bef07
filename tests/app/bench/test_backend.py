"""The backend behind all that are compared."""

from __future__ import annotations

import socket

from proxy.app.bench.sites import Site

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def receive(channel: socket.socket, size: int) -> bytes:
    return channel.recv(size, socket.MSG_WAITALL)


def test_every_head_is_answered_however_it_comes(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.backend), timeout=10) as channel:
        channel.sendall(HEAD)
        answer = channel.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nhello world\n")
        channel.sendall(HEAD * 3)
        assert receive(channel, 3 * len(answer)) == answer * 3
        for byte in HEAD:
            channel.sendall(bytes([byte]))
        assert receive(channel, len(answer)) == answer
