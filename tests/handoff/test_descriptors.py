"""Descriptors through a socket: close-on-exec, truncation, spares."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys

import pytest

from proxy.handoff.descriptors import (
    Reserve,
    channel_pair,
    close_all,
    is_open,
    peek,
    receive_message,
    send_message,
    sever,
)
from proxy.handoff.settings import DESCRIPTORS_PER_MESSAGE_MAX, MESSAGE_BYTES_MAX
from tests.handoff.ends import open_count


def test_a_message_brings_its_descriptors_in_order() -> None:
    a, b = channel_pair()
    pipes = [os.pipe() for _ in range(5)]
    with a, b:
        send_message(a, b"message", [read for read, _ in pipes])
        assert peek(b, 3) == b"mes"
        received = receive_message(b)
        assert (received.message, received.truncated) == (b"message", False)
        for (_, write), descriptor in zip(pipes, received.descriptors, strict=True):
            os.write(write, b"%d" % write)
            assert os.read(descriptor, 10) == b"%d" % write
            assert not os.get_inheritable(descriptor)
        close_all(received.descriptors)
    for pair in pipes:
        close_all(pair)


def test_the_kernels_largest_batch_is_received_whole() -> None:
    a, b = channel_pair()
    with a, b:
        send_message(a, b"x", [a.fileno()] * DESCRIPTORS_PER_MESSAGE_MAX)
        received = receive_message(b)
        assert len(set(received.descriptors)) == DESCRIPTORS_PER_MESSAGE_MAX
        close_all(received.descriptors)
        with pytest.raises(OSError, match="Invalid argument"):
            send_message(a, b"x", [a.fileno()] * (DESCRIPTORS_PER_MESSAGE_MAX + 1))


def test_both_ends_are_non_blocking_and_not_inheritable() -> None:
    for end in channel_pair():
        with end:
            assert not end.getblocking()
            assert not end.get_inheritable()


def test_a_message_too_long_is_truncated_and_its_descriptors_closed() -> None:
    a, b = channel_pair()
    with a, b:
        before = open_count()
        send_message(a, bytes(MESSAGE_BYTES_MAX + 1), [a.fileno()])
        received = receive_message(b)
        assert received.truncated
        assert received.descriptors == []
        assert open_count() == before


LIMITED = """
import resource, socket, sys
from proxy.handoff.descriptors import receive_message
from tests.handoff.ends import open_count
channel = socket.socket(fileno=int(sys.argv[1]))
before = open_count()
resource.setrlimit(resource.RLIMIT_NOFILE, (before + 3, before + 3))
received = receive_message(channel)
print(received.truncated, received.descriptors, open_count() == before)
"""


@pytest.mark.requirement("A42")
def test_running_out_of_descriptors_truncates_and_leaks_nothing() -> None:
    a, b = channel_pair()
    with a, b:
        send_message(a, b"batch", [a.fileno()] * 20)
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(b.fileno())],
            pass_fds=[b.fileno()],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (done.stdout, done.stderr) == ("True [] True\n", "")


def test_a_reserve_keeps_numbers_free() -> None:
    before = open_count()
    reserve = Reserve()
    assert reserve.fill(5) == len(reserve) == 5
    assert open_count() == before + 5
    reserve.release(2)
    assert open_count() == before + 3
    reserve.release(100)
    assert (len(reserve), open_count()) == (0, before)
    assert reserve.fill(3) == 3
    reserve.close()
    assert open_count() == before


EXHAUSTED = """
import os, resource
from proxy.handoff.descriptors import Reserve
from tests.handoff.ends import open_count
limit = open_count() - 1 + 4
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
reserve = Reserve()
print(reserve.fill(10), reserve.fill(10))
"""


def test_a_reserve_takes_what_there_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXHAUSTED], capture_output=True, text=True, timeout=30
    )
    assert (done.stdout, done.stderr) == ("4 4\n", "")
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 100, "this process is not limited"


def test_is_open() -> None:
    read, write = os.pipe()
    assert is_open(read)
    close_all([read, write])
    assert not is_open(read)
    close_all([read])


def test_sever_ends_the_connection_for_every_holder() -> None:
    client, ours = socket.socketpair()
    with client, ours:
        copy = os.dup(ours.fileno())
        sever(ours.fileno())
        assert client.recv(10) == b""
        with pytest.raises(BrokenPipeError):
            os.write(copy, b"x")
        assert is_open(ours.fileno())
        os.close(copy)


def test_sever_ignores_what_is_no_connection() -> None:
    read, write = os.pipe()
    sever(read)
    assert is_open(read)
    close_all([read, write])
    sever(read)
