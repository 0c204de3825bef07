"""Sources are counted while a client of theirs is here, and limited only under pressure."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.front import Family, FiveTuples, Sources, SourceSettings, source_of

Network = IPv4Network | IPv6Network


def five_tuple(address: str) -> bytes:
    """As the front packs it: the client's address and port first."""
    packed = ip_address(address).packed
    return (b"\x04" if len(packed) == 4 else b"\x06") + 2 * (packed + b"\x20\xfb")


def source(address: str) -> bytes:
    found = source_of(five_tuple(address))
    assert found is not None
    return found


def limited(limit: int, *exempt: str) -> Sources:
    networks: tuple[Network, ...] = tuple(ip_network(each) for each in exempt)
    return Sources(SourceSettings(half_open_limit=limit, exempt=networks))


# --- what a source is --------------------------------------------------------------------------


@pytest.mark.requirement("A61")
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        # Only ::ffff:0:0/96 is IPv4; what is near it is not.
        ("::fffe:192.0.2.1", "192.0.2.1", False),
        ("::192.0.2.1", "192.0.2.1", False),
        ("c000:0201::", "192.0.2.1", False),
    ],
)
def test_a_source_is_an_ipv4_address_or_an_ipv6_64(one: str, other: str, same: bool) -> None:
    assert (source(one) == source(other)) is same


@pytest.mark.parametrize(
    ("family", "host"), [(Family.INET, "127.0.0.1"), (Family.INET6, "::ffff:127.0.0.1")]
)
def test_a_connections_own_five_tuple_gives_its_source(family: Family, host: str) -> None:
    kind = socket.AF_INET if family is Family.INET else socket.AF_INET6
    with socket.socket(kind) as listener:
        if family is Family.INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), source_address=("127.9.8.7", 0)):
            accepted, peer = listener.accept()
            with accepted:
                packed = FiveTuples(family, listener).of(accepted.fileno(), peer)
    assert source_of(packed) == bytes([127, 9, 8, 7])


def test_unix_clients_have_no_source_and_no_limit() -> None:
    none = source_of(b"\x01" + (7).to_bytes(8))
    assert none is None
    sources = limited(1)
    assert all(sources.admit(none, pressed=True) for _ in range(10))
    sources.release(none)
    assert len(sources) == 0


# --- the limit ---------------------------------------------------------------------------------


@pytest.mark.requirement("A61")
def test_the_limit_is_per_source_and_counts_only_under_pressure() -> None:
    sources = limited(2)
    busy, quiet = source("192.0.2.1"), source("2001:db8::1")
    assert all(sources.admit(busy, pressed=False) for _ in range(5))
    assert not sources.admit(busy, pressed=True)
    assert sources.admit(quiet, pressed=True)
    assert sources.admit(quiet, pressed=True)
    assert not sources.admit(quiet, pressed=True)
    assert sources.admit(busy, pressed=False)
    # Six are here; who was refused is not one of them.
    for _ in range(4):
        sources.release(busy)
        assert not sources.admit(busy, pressed=True)
    sources.release(busy)
    assert sources.admit(busy, pressed=True)
    assert not sources.admit(busy, pressed=True)


def test_a_source_without_clients_is_forgotten() -> None:
    sources = limited(3)
    addresses = [f"10.0.{number // 256}.{number % 256}" for number in range(1000)]
    for address in addresses * 2:
        assert sources.admit(source(address), pressed=True)
    assert len(sources) == 1000
    for address in addresses * 2:
        sources.release(source(address))
    assert len(sources) == 0


def test_without_a_limit_nothing_is_counted() -> None:
    sources = Sources(SourceSettings())
    for _ in range(100):
        assert sources.admit(source("192.0.2.1"), pressed=True)
    assert len(sources) == 0
    assert not sources.limited
    sources.release(source("192.0.2.1"))


# --- exemptions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exempt", "address", "free"),
    [
        (["192.0.2.1/32"], "192.0.2.1", True),
        (["192.0.2.1/32"], "192.0.2.2", False),
        (["192.0.2.1/32"], "192.0.2.0", False),
        (["192.0.2.0/24", "10.0.0.0/8"], "10.255.255.255", True),
        (["192.0.2.0/24", "10.0.0.0/8"], "11.0.0.0", False),
        (["192.0.2.0/24", "10.0.0.0/8"], "192.0.2.255", True),
        (["192.0.2.0/24", "10.0.0.0/8"], "9.255.255.255", False),
        # One inside another does not end it.
        (["10.0.0.0/8", "10.1.0.0/16"], "10.2.0.0", True),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["2001:db8::/32"], "2001:db8:ffff:ffff::1", True),
        (["2001:db8::/32"], "2001:db9::", False),
        (["2001:db8:0:1::/64"], "2001:db8:0:1:ffff::", True),
        (["2001:db8:0:1::/64"], "2001:db8:0:2::", False),
        (["0.0.0.0/0"], "203.0.113.9", True),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["::/0"], "2001:db8::1", True),
        (["::/0"], "::ffff:203.0.113.9", False),
        ([], "192.0.2.1", False),
    ],
)
def test_exempt_networks_have_no_limit(exempt: list[str], address: str, free: bool) -> None:
    sources = limited(1, *exempt)
    assert sources.admit(source(address), pressed=True)
    assert sources.admit(source(address), pressed=True) is free


NETWORKS = st.builds(
    lambda number, bits: ip_network((number >> (32 - bits) << (32 - bits), bits)),
    st.integers(0, 2**32 - 1).map(lambda number: number & 0x0F0F0003),
    st.integers(0, 32),
) | st.builds(
    lambda number, bits: ip_network((number << 64 >> (128 - bits) << (128 - bits), bits)),
    st.integers(0, 2**64 - 1).map(lambda number: number & 0x0F000000000F0003),
    st.integers(0, 64),
)


@given(st.lists(NETWORKS, max_size=8), st.data())
def test_exemptions_are_what_ipaddress_says(networks: list[Network], data: st.DataObject) -> None:
    address = str(
        data.draw(
            st.ip_addresses()
            if not networks
            else st.sampled_from(networks).flatmap(
                lambda network: st.sampled_from([network[0], network[-1]])
            )
            | st.ip_addresses()
        )
    )
    known = ip_address(address)
    mapped = getattr(known, "ipv4_mapped", None)
    expected = any((mapped or known) in network for network in networks)
    sources = limited(1, *map(str, networks))
    assert sources.admit(source(address), pressed=True)
    assert sources.admit(source(address), pressed=True) is expected


def test_an_exempt_network_smaller_than_a_source_is_refused() -> None:
    with pytest.raises(ValueError, match="2001:db8::/65 is less than a source, which is a /64"):
        limited(1, "2001:db8::/65")


# --- reload ------------------------------------------------------------------------------------


def test_a_reload_changes_the_limit_and_the_exemptions_and_keeps_the_counts() -> None:
    sources = limited(5)
    assert sources.limited
    one = source("192.0.2.1")
    for _ in range(3):
        assert sources.admit(one, pressed=True)
    sources.configure(SourceSettings(half_open_limit=3))
    assert not sources.admit(one, pressed=True)
    sources.configure(SourceSettings(half_open_limit=3, exempt=(IPv4Network("192.0.2.0/24"),)))
    assert sources.admit(one, pressed=True)
    sources.configure(SourceSettings())
    for _ in range(4):
        sources.release(one)
    assert len(sources) == 0


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["come", "come", "go", "switch"]), st.integers(0, 2), st.booleans()),
    max_size=60,
)


@given(OPERATIONS, st.integers(1, 4))
def test_a_source_never_counts_more_clients_than_it_has(
    operations: list[tuple[str, int, bool]], limit: int
) -> None:
    """Whatever was switched on and off between: else somebody would stay locked out."""
    sources, on = limited(limit), True
    here: Counter[bytes] = Counter()
    for operation, number, pressed in operations:
        one = source(f"192.0.2.{number}")
        if operation == "switch":
            on = not on
            sources.configure(SourceSettings(half_open_limit=limit if on else None))
        elif operation == "come":
            if sources.admit(one, pressed):
                here[one] += 1
            else:
                assert on
                assert pressed
                assert here[one] >= limit
        elif here[one]:
            sources.release(one)
            here[one] -= 1
        assert len(sources) <= len(+here)
    for one, count in here.items():
        for _ in range(count):
            sources.release(one)
    assert len(sources) == 0


# --- hostile addresses -------------------------------------------------------------------------

_COUNT = 20_000


def seconds(work: Callable[[], object]) -> float:
    """Processor time, the least of three."""
    times = []
    for _ in range(3):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


def count_all(numbers: list[int]) -> None:
    """A client of each IPv6 address comes and goes."""
    sources = limited(1)
    found = [source(str(IPv6Address(number))) for number in numbers]
    assert all(sources.admit(one, pressed=True) for one in found)
    assert len(sources) == len(numbers)
    for one in found:
        sources.release(one)


def test_addresses_that_collide_as_integers_cost_what_others_do() -> None:
    # Multiples of this have one hash in Python; of eight times it, each is in a /64 of its own.
    modulus = 8 * (2**61 - 1)
    hostile = [number * modulus for number in range(1, _COUNT + 1)]
    others = [number << 64 for number in range(1, _COUNT + 1)]
    assert seconds(lambda: count_all(hostile)) < 5 * seconds(lambda: count_all(others))
    # They do collide: the quarter of them in a dict of integers is dearer by far.
    few = _COUNT // 4
    integers = seconds(lambda: dict.fromkeys(hostile[:few]))
    assert integers > 20 * seconds(lambda: dict.fromkeys(others[:few]))
