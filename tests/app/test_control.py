"""The control channel over a real socketpair."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from pathlib import Path

from proxy.app.control import ControlChannel
from proxy.app.messages import (
    Attach,
    Commit,
    Message,
    Prepare,
    Prepared,
    ReopenLogs,
    Snapshot,
    Started,
    encode,
)
from proxy.handoff import channel_pair


class End:
    """One end, with what it has received."""

    def __init__(self, endpoint: socket.socket, *, spare_descriptors: int = 0) -> None:
        self.received: asyncio.Queue[Message] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.channel = ControlChannel(
            endpoint,
            self.received.put_nowait,
            self.closed.set,
            spare_descriptors=spare_descriptors,
        )

    async def next(self) -> Message:
        return await asyncio.wait_for(self.received.get(), 5)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_messages_keep_their_order() -> None:
    ours, theirs = map(End, channel_pair())
    for number in range(50):
        ours.channel.send(Commit(number))
    assert [await theirs.next() for _ in range(50)] == [Commit(number) for number in range(50)]
    ours.channel.close()
    theirs.channel.close()


async def test_what_the_socket_does_not_take_waits_with_its_descriptors() -> None:
    one, other = channel_pair()
    ours = End(one)
    read, write = os.pipe()
    count = 0
    # Until the socket is full, then a few more; the sender closes its copy at once.
    body = {"text": "x" * 40_000}
    while count < 20:
        ours.channel.send(Snapshot(count, "status", body))
        count += 1
    ours.channel.send(Attach("worker", 0, 1, write))
    os.close(write)
    theirs = End(other)
    for number in range(count):
        message = await theirs.next()
        assert isinstance(message, Snapshot)
        assert message.number == number
    attach = await theirs.next()
    assert isinstance(attach, Attach)
    os.write(attach.descriptor, b"!")
    assert os.read(read, 1) == b"!"
    await asyncio.wait_for(ours.channel.flushed(), 5)
    os.close(attach.descriptor)
    os.close(read)
    ours.channel.close()
    theirs.channel.close()


async def test_nothing_stays_open_after_large_messages() -> None:
    ours, theirs = map(End, channel_pair())
    before = open_descriptors()
    for number in range(5):
        ours.channel.send(Prepare(number, b"x" * 300_000))
        message = await theirs.next()
        assert isinstance(message, Prepare)
        assert len(message.snapshot) == 300_000
    assert open_descriptors() == before
    ours.channel.close()
    theirs.channel.close()


async def test_the_end_is_told_once_after_all_that_was_said() -> None:
    ours, theirs = map(End, channel_pair())
    ours.channel.send(Started(1))
    theirs.channel.send(ReopenLogs())  # unread by us: the kernel resets instead of ending
    ours.channel.close()
    assert await theirs.next() == Started(1)
    await asyncio.wait_for(theirs.closed.wait(), 5)
    theirs.channel.send(Commit(1))  # to nobody, without an error


async def test_our_own_close_is_not_told() -> None:
    ours, theirs = map(End, channel_pair())
    ours.channel.close()
    ours.channel.close()
    await asyncio.wait_for(theirs.closed.wait(), 5)
    assert not ours.closed.is_set()
    await asyncio.wait_for(ours.channel.flushed(), 5)


async def test_nonsense_ends_the_channel() -> None:
    one, other = channel_pair()
    theirs = End(other)
    one.send(encode(Prepared(1)).payload)
    one.send(b"nonsense")
    one.send(encode(Prepared(2)).payload)
    await asyncio.wait_for(theirs.closed.wait(), 5)
    assert await theirs.next() == Prepared(1)
    assert theirs.received.empty()
    one.close()


async def test_an_oversized_datagram_ends_the_channel() -> None:
    one, other = channel_pair()
    theirs = End(other)
    one.send(b"{" + b" " * 100_000 + b"}")
    await asyncio.wait_for(theirs.closed.wait(), 5)
    one.close()


async def test_a_peer_that_never_reads_is_given_up() -> None:
    one, other = channel_pair()
    ours = End(one)
    body = {"text": "x" * 40_000}
    for number in range(400):
        ours.channel.send(Snapshot(number, "status", body))
    await asyncio.wait_for(ours.closed.wait(), 5)
    other.close()


async def test_a_process_without_descriptors_receives_those_it_kept_room_for() -> None:
    one, other = channel_pair()
    ours, theirs = End(one), End(other, spare_descriptors=2)
    read, write = os.pipe()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(read))
        # Spares come back as descriptors are freed: each of these is closed by its receiver.
        for number in range(5):
            ours.channel.send(Attach("worker", number, 1, write))
            attach = await theirs.next()
            assert isinstance(attach, Attach)
            assert attach.peer_slot == number
            os.close(attach.descriptor)
        assert not theirs.closed.is_set()
    finally:
        for descriptor in (*taken, read, write):
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    ours.channel.close()
    theirs.channel.close()
