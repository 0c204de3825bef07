"""The handshake table: bounded, by 5-tuple, slots reused."""

import time

import pytest

from proxy.front import HandshakeTable


@pytest.mark.requirement("A4", "A5", "A6", "A13", "A14", "A15")
def test_slots_are_taken_returned_and_reused() -> None:
    table = HandshakeTable(2)
    assert table.put(b"a", b"1")
    assert table.put(b"b", b"2")
    assert table.full
    assert not table.put(b"c", b"3")
    assert table.take(b"a") == b"1"
    assert table.take(b"a") is None
    assert table.put(b"c", b"3")
    assert (table.find(b"b"), table.find(b"c"), len(table)) == (b"2", b"3", 2)


def test_the_same_five_tuple_replaces_even_in_a_full_table() -> None:
    table = HandshakeTable(1)
    assert table.put(b"a", b"1")
    assert table.put(b"a", b"22")
    assert table.take(b"a") == b"22"


def test_its_size_returns_to_nothing() -> None:
    table = HandshakeTable(10)
    table.put(b"a", bytes(100))
    table.put(b"a", bytes(50))
    table.put(b"b", bytes(10))
    assert table.size_bytes > 60
    table.take(b"a")
    table.take(b"b")
    assert table.size_bytes == 0


@pytest.mark.requirement("A13")
def test_keys_that_would_collide_as_integers_cost_no_more_than_others() -> None:
    """Integers hash to themselves modulo 2^61 - 1: such a key would be the peer's to choose."""
    modulus = (1 << 61) - 1
    colliding = [(modulus * n).to_bytes(16) for n in range(20_000)]
    others = [(n << 40).to_bytes(16) for n in range(20_000)]
    assert len({hash(int.from_bytes(key)) for key in colliding}) == 1

    def fill(keys: list[bytes]) -> float:
        table = HandshakeTable(len(keys))
        began = time.process_time()
        for key in keys:
            table.put(key, b"")
        return time.process_time() - began

    # Quadratic behaviour would be a factor of thousands; noise is a factor of a few.
    assert min(fill(colliding) for _ in range(3)) < 50 * max(
        min(fill(others) for _ in range(3)), 1e-4
    )
