"""State by descriptor: numbers come back, pieces are counted, origins are held while needed."""

from __future__ import annotations

import gc
import sys
from array import array

import pytest

from proxy.front import DeadlineWheel, FiveTuples, Origin, Stage
from proxy.front.clients import Clients
from proxy.front.settings import Family
from proxy.tls import HelloReader
from tests.front.test_answerer import _answerer


def _origin() -> Origin:
    return Origin(FiveTuples(Family.INET), _answerer())


def test_a_number_can_be_used_again_and_knows_nothing_of_its_former_client() -> None:
    clients, first, second = Clients(), _origin(), _origin()
    one, two = clients.enrol(first), clients.enrol(second)
    clients.add(7, one, 1.0)
    clients.keep(7, b"pieces")
    clients.store_key(7, b"one")
    clients.advance(7, Stage.REPLY)
    assert clients.half_open == 1
    clients.remove(7)
    assert (clients.stage(7), clients.half_open) == (Stage.FREE, 0)
    with pytest.raises(KeyError):
        clients.origin(7)
    clients.add(7, two, 2.0)
    assert (clients.stage(7), clients.key(7)) == (Stage.HELLO, None)
    assert clients.origin(7) is second
    assert clients.take_pending(7) is None
    assert len(clients) == 1


def test_an_origin_lives_as_long_as_its_last_client() -> None:
    clients, first = Clients(), _origin()
    number = clients.enrol(first)
    clients.add(9, number, 0.0)
    clients.dismiss(number)
    assert clients.origin(9) is first
    assert clients.enrol(_origin()) != number
    clients.remove(9)
    assert clients.enrol(_origin()) == number


@pytest.mark.parametrize("came", [0.0, 0.1, 0.249, 16383.99, 16384.1, 1e6])
def test_an_age_is_never_too_high_and_little_too_low(came: float) -> None:
    clients = Clients()
    clients.add(5, clients.enrol(_origin()), came)
    for passed in (0.0, 0.2, 0.26, 5.0, 600.0):
        assert passed - 0.5 < clients.age_s(5, came + passed) <= passed


def test_the_holder_of_a_key_is_the_one_that_is_to_reply() -> None:
    clients = Clients()
    number = clients.enrol(_origin())
    stages = {3: Stage.OFFERED, 5: Stage.LINGER, 7: Stage.REPLY, 4000: Stage.OFFERED}
    for descriptor, stage in stages.items():
        clients.add(descriptor, number, 0.0, stage)
        clients.store_key(descriptor, b"key")
    assert clients.holder(b"key") == 7
    assert clients.holder(b"other") is None
    clients.remove(7)
    assert clients.holder(b"key") is None


def test_pending_bytes_follow_a_reader_that_grows() -> None:
    clients = Clients()
    clients.add(3, clients.enrol(_origin()), 0.0)
    reader = HelloReader()
    for expected in (4, 8):
        reader.receive(b"\x16\x03\x01\x02" if expected == 4 else bytes(4))
        clients.keep(3, reader)
        assert clients.pending_bytes == expected
        assert clients.take_pending(3) is reader
        assert clients.pending_bytes == 0


def test_any_descriptor_number_is_taken() -> None:
    clients = Clients()
    clients.add(100_000, clients.enrol(_origin()), 0.0)
    assert clients.known() == [100_000]
    assert clients.stage(5_000_000) == Stage.FREE
    assert list(clients.in_stage(Stage.HELLO)) == [100_000]


@pytest.mark.requirement("A4")
@pytest.mark.parametrize("count", [15_000, 60_000])
def test_a_client_that_is_to_say_a_second_hello_costs_at_most_16_bytes(count: int) -> None:
    clients, wheel = Clients(), DeadlineWheel(610.0, 0.25, now=0.0)
    number = clients.enrol(_origin())
    for descriptor in range(20, 20 + count):
        clients.add(descriptor, number, 1.0)
        wheel.set(descriptor, 11.0)
        clients.advance(descriptor, Stage.SECOND_HELLO)
        wheel.set(descriptor, 11.0)
    assert clients.half_open == count
    held = [one for owner in (clients, wheel) for one in gc.get_referents(owner)]
    assert sum(isinstance(one, array) for one in held) == 5
    assert sum(sys.getsizeof(one) for one in held if not isinstance(one, type)) / count <= 16


def test_a_held_origin_stays_until_its_client_is_there() -> None:
    clients, first = Clients(), _origin()
    number = clients.enrol(first)
    clients.hold(number)
    clients.dismiss(number)
    clients.add(9, number, 0.0)
    clients.dismiss(number)
    assert clients.origin(9) is first
    clients.remove(9)
    assert clients.enrol(_origin()) == number
