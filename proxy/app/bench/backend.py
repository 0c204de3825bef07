"""The HTTP backend behind all servers that are compared: one short answer to every request.

    python -m proxy.app.bench.backend --listen-fd N

Rule: it reads nothing but where a head ends, because its CPU time is nobody's; the end of standard
input is its end.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from typing import cast

import uvloop

__all__ = ["main"]

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello world\n"


class _Connection(asyncio.Protocol):
    """Answers each head that ends; requests have no bodies here."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        self._unfinished = b""

    def data_received(self, data: bytes) -> None:
        *heads, self._unfinished = (self._unfinished + data).split(b"\r\n\r\n")
        if heads:
            self._transport.write(_ANSWER * len(heads))


async def _run(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    server = await loop.create_server(_Connection, sock=socket.socket(fileno=descriptor))
    await ended.wait()
    server.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="vestibule-bench-backend")
    parser.add_argument("--listen-fd", type=int, required=True)
    uvloop.run(_run(parser.parse_args(arguments).listen_fd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
