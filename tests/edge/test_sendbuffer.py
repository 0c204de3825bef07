from __future__ import annotations

import socket
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.sendbuffer import MAX_PIECES, SendBuffer
from tests.edge.legs import tcp_pair


def drain(buffer: SendBuffer, sender: socket.socket, receiver: socket.socket) -> bytes:
    """Send and receive in turn until the buffer is empty."""
    received = bytearray()
    while buffer.size:
        try:
            assert buffer.send_to(sender) > 0
        except BlockingIOError:
            received += receiver.recv(1 << 20)
    sender.shutdown(socket.SHUT_WR)
    receiver.setblocking(True)
    while data := receiver.recv(1 << 20):
        received += data
    return bytes(received)


@given(st.lists(st.binary(max_size=3000), max_size=200))
def test_pieces_arrive_in_order(pieces: list[bytes]) -> None:
    near, far = tcp_pair()
    with near, far:
        buffer = SendBuffer()
        for piece in pieces:
            buffer.append(piece)
        assert buffer.size == sum(map(len, pieces))
        assert drain(buffer, near, far) == b"".join(pieces)
        assert buffer.size == 0


def test_a_full_socket_keeps_the_remainder() -> None:
    near, far = tcp_pair(buffers=4096)
    with near, far:
        buffer = SendBuffer()
        pieces = [bytes([number % 256]) * 9000 for number in range(MAX_PIECES * 3)]
        for piece in pieces:
            buffer.append(piece)
        sent = buffer.send_to(near)
        assert 0 < sent < 9000 * MAX_PIECES, "not more than fits"
        assert buffer.size == 9000 * len(pieces) - sent
        assert drain(buffer, near, far) == b"".join(pieces)


def test_tiny_pieces_take_little_more_than_their_bytes() -> None:
    buffer = SendBuffer()
    tracemalloc.start()
    try:
        for number in range(10_000):
            buffer.append(b"%024d" % number)
        assert buffer.size == 240_000
        assert tracemalloc.get_traced_memory()[0] < 2 * buffer.size
    finally:
        tracemalloc.stop()
    assert buffer.take() == b"".join(b"%024d" % number for number in range(10_000))


def test_what_is_taken_is_what_was_not_sent() -> None:
    near, far = tcp_pair(buffers=4096)
    with near, far:
        buffer = SendBuffer()
        buffer.append(b"a" * 100)
        buffer.append(bytearray(b"b" * 1_000_000))
        buffer.append(memoryview(b"cd"))
        sent = buffer.send_to(near)
        whole = b"a" * 100 + b"b" * 1_000_000 + b"cd"
        assert buffer.take() == whole[sent:]
        assert buffer.size == 0
        assert buffer.take() == b""
