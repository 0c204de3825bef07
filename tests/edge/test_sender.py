"""The sending half of a stream: how much it is worth reading for its peer."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from proxy.edge.buffers import RECEIVE_BYTES
from proxy.edge.sender import LEAST_APPETITE, Sender
from tests.edge.legs import tcp_pair


async def drained(sender: Sender, far: socket.socket) -> None:
    """The peer takes everything."""
    while True:
        try:
            far.recv(1 << 20)
        except BlockingIOError:
            if not sender.unsent:
                return
        await asyncio.sleep(0)


async def test_appetite_grows_while_the_peer_takes_everything_and_shrinks_when_not() -> None:
    near, far = tcp_pair(buffers=4 << 20)
    sender = Sender(asyncio.get_running_loop(), near)
    with near, far, contextlib.ExitStack() as cleanup:
        cleanup.callback(sender.stop, "closed")
        sizes = []
        for _ in range(6):
            sizes.append(sender.appetite)
            sender.put(bytes(sender.appetite))
            await drained(sender, far)
        assert sizes == [min(LEAST_APPETITE << turn, RECEIVE_BYTES) for turn in range(6)]
        for expected in (RECEIVE_BYTES // 2, RECEIVE_BYTES // 4):
            while not sender.unsent:
                sender.put(bytes(LEAST_APPETITE // 2))
            assert sender.appetite == expected
            await drained(sender, far)
        for _ in range(10):
            while not sender.unsent:
                sender.put(bytes(LEAST_APPETITE // 2))
            await drained(sender, far)
        assert sender.appetite == LEAST_APPETITE, "and no further"
