"""State by descriptor: numbers come back, pieces are counted."""

from __future__ import annotations

import pytest

from proxy.front import Stage
from proxy.front.clients import Clients
from proxy.tls import HelloReader
from tests.front.test_answerer import _answerer


def test_a_number_can_be_used_again_and_knows_nothing_of_its_former_client() -> None:
    clients, first, second = Clients(), _answerer(), _answerer()
    clients.add(7, first, b"one", 1.0)
    clients.keep(7, b"pieces")
    clients.advance(7, Stage.REPLY)
    clients.remove(7)
    assert clients.stage(7) == Stage.FREE
    with pytest.raises(KeyError):
        clients.answerer(7)
    clients.add(7, second, b"two", 2.0)
    assert (clients.stage(7), clients.key(7), clients.accepted_s(7)) == (Stage.HELLO, b"two", 2.0)
    assert clients.answerer(7) is second
    assert clients.take_pending(7) is None
    assert len(clients) == 1


def test_pending_bytes_follow_a_reader_that_grows() -> None:
    clients = Clients()
    clients.add(3, _answerer(), b"key", 0.0)
    reader = HelloReader()
    for expected in (4, 8):
        reader.receive(b"\x16\x03\x01\x02" if expected == 4 else bytes(4))
        clients.keep(3, reader)
        assert clients.pending_bytes == expected
        assert clients.take_pending(3) is reader
        assert clients.pending_bytes == 0


def test_any_descriptor_number_is_taken() -> None:
    clients = Clients()
    clients.add(100_000, _answerer(), b"key", 0.0)
    assert clients.known() == [100_000]
    assert clients.stage(5_000_000) == Stage.FREE
    assert list(clients.in_stage(Stage.HELLO)) == [100_000]
