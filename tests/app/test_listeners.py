"""Listening sockets, bound for real."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.app.failures import BindError
from proxy.app.listeners import ListenAddress, Listeners
from proxy.front import BindAddress, Family
from tests.app.supervised import address


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    made = Listeners()
    yield made
    made.close()


def listen(bind: str, *, dual_stack: bool = False, name: str = "public") -> ListenAddress:
    return ListenAddress(name, address(bind), dual_stack)


def option(descriptor: int, level: int, name: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as item:
        return item.getsockopt(level, name)


def port(listeners: Listeners, bind: str = "127.0.0.1:0", fronts: int = 1) -> int:
    prospect = listeners.prepare([listen(bind)], fronts)
    listeners.commit(prospect)
    return address(prospect.binds[0]).port


def same(one: int, other: int) -> bool:
    return os.path.samestat(os.fstat(one), os.fstat(other))


def test_each_front_has_a_socket_of_its_own_on_one_port(listeners: Listeners) -> None:
    prospect = listeners.prepare([listen("127.0.0.1:0")], 3)
    listeners.commit(prospect)
    sockets = [prospect.of_front(slot)[0] for slot in range(3)]
    assert len({one.descriptor for one in sockets}) == 3
    assert {(one.name, one.bind) for one in sockets} == {("public", "127.0.0.1:0")}
    names = set()
    for one in sockets:
        assert option(one.descriptor, socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert option(one.descriptor, socket.SOL_SOCKET, socket.SO_REUSEPORT) == 1
        assert not os.get_blocking(one.descriptor)
        assert not os.get_inheritable(one.descriptor)
        with socket.socket(fileno=os.dup(one.descriptor)) as item:
            names.add(item.getsockname())
    assert len(names) == 1


def test_accepted_sockets_do_not_delay(listeners: Listeners) -> None:
    prospect = listeners.prepare([listen("127.0.0.1:0")], 1)
    listeners.commit(prospect)
    with socket.create_connection(("127.0.0.1", address(prospect.binds[0]).port)):
        listener = socket.socket(fileno=os.dup(prospect.of_front(0)[0].descriptor))
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with listener, accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize("dual_stack", [True, False])
def test_ipv6_is_for_ipv6_unless_dual_stack(listeners: Listeners, dual_stack: bool) -> None:
    prospect = listeners.prepare([listen("[::]:0", dual_stack=dual_stack)], 1)
    descriptor = prospect.of_front(0)[0].descriptor
    assert option(descriptor, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == int(not dual_stack)
    listeners.abandon(prospect)


def test_wildcards_of_both_families_share_a_port(listeners: Listeners) -> None:
    number = port(listeners, "0.0.0.0:0")
    prospect = listeners.prepare([listen("0.0.0.0:0"), listen(f"[::]:{number}")], 1)
    listeners.commit(prospect)
    assert prospect.binds == [f"0.0.0.0:{number}", f"[::]:{number}"]


def test_what_stays_keeps_its_sockets(listeners: Listeners) -> None:
    first = listeners.prepare([listen("127.0.0.1:0")], 2)
    listeners.commit(first)
    second = listeners.prepare([listen("127.0.0.1:0", name="renamed"), listen("[::1]:0")], 2)
    listeners.commit(second)
    for slot in range(2):
        before, after = first.of_front(slot)[0], second.of_front(slot)[0]
        assert before.descriptor == after.descriptor
        assert (before.name, after.name) == ("public", "renamed")


def test_more_fronts_join_the_port_and_fewer_leave_it(listeners: Listeners) -> None:
    one = listeners.prepare([listen("127.0.0.1:0")], 1)
    listeners.commit(one)
    two = listeners.prepare([listen("127.0.0.1:0")], 2)
    listeners.commit(two)
    assert one.binds == two.binds
    assert one.of_front(0) == two.of_front(0)
    added = two.of_front(1)[0].descriptor
    listeners.commit(listeners.prepare([listen("127.0.0.1:0")], 1))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(added)


def test_a_removed_address_is_closed_here(listeners: Listeners) -> None:
    number = port(listeners)
    listeners.commit(listeners.prepare([listen("[::1]:0")], 1))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number))


def test_an_abandoned_address_is_closed_and_the_others_are_not(listeners: Listeners) -> None:
    number = port(listeners)
    prospect = listeners.prepare([listen("127.0.0.1:0"), listen("[::1]:0")], 1)
    other = address(prospect.binds[1]).port
    listeners.abandon(prospect)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", other))
    socket.create_connection(("127.0.0.1", number)).close()


def test_a_failure_leaves_nothing_bound(listeners: Listeners) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
        free.close()
        bad = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BindError, match=f"cannot listen on {bad}: Address already in use"):
            listeners.prepare([listen(f"127.0.0.1:{number}"), listen(bad)], 2)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number))


@pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0", "[::]"])
def test_another_program_with_reuseport_is_noticed(listeners: Listeners, bind: str) -> None:
    family = socket.AF_INET6 if bind == "[::]" else socket.AF_INET
    host = bind.strip("[]")
    with socket.create_server((host, 0), family=family, reuse_port=True) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(BindError, match="Address already in use"):
            listeners.prepare([listen(f"{bind}:{number}")], 1)


def test_an_address_may_be_listed_once(listeners: Listeners) -> None:
    with pytest.raises(BindError, match="listed twice"):
        listeners.prepare([listen("127.0.0.1:0"), listen("127.0.0.1:0", name="other")], 1)


def test_addresses_are_limited_by_what_one_message_carries(listeners: Listeners) -> None:
    many = [listen(f"127.0.1.{number}:0") for number in range(250)]
    with pytest.raises(BindError, match="250 addresses, at most 249"):
        listeners.prepare(many, 1)


def test_an_address_of_another_machine_is_refused(listeners: Listeners) -> None:
    with pytest.raises(BindError, match=r"cannot listen on 192\.0\.2\.1:443: Cannot assign"):
        listeners.prepare([listen("192.0.2.1:443")], 1)


class TestUnix:
    def test_one_socket_for_all_fronts(self, listeners: Listeners, tmp_path: Path) -> None:
        path = tmp_path / "s"
        before = os.umask(0)
        try:
            prospect = listeners.prepare([listen(f"unix:{path}")], 3)
        finally:
            assert os.umask(before) == 0
        listeners.commit(prospect)
        descriptors = {prospect.of_front(slot)[0].descriptor for slot in range(3)}
        assert len(descriptors) == 1
        assert path.stat().st_mode & 0o777 == 0o660
        listeners.close()
        assert not path.exists()

    def test_a_dead_socket_is_replaced(self, listeners: Listeners, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        listeners.commit(listeners.prepare([listen(f"unix:{path}")], 1))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

    def test_a_living_socket_is_left(self, listeners: Listeners, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen(1)
            with pytest.raises(BindError, match="Address already in use"):
                listeners.prepare([listen(f"unix:{path}")], 1)
            assert path.exists()

    def test_a_file_is_left(self, listeners: Listeners, tmp_path: Path) -> None:
        path = tmp_path / "s"
        path.write_text("precious")
        with pytest.raises(BindError, match="not a socket"):
            listeners.prepare([listen(f"unix:{path}")], 1)
        assert path.read_text() == "precious"

    def test_a_successors_socket_is_left(self, listeners: Listeners, tmp_path: Path) -> None:
        path = tmp_path / "s"
        listeners.commit(listeners.prepare([listen(f"unix:{path}")], 1))
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            listeners.close()
            assert path.exists()

    def test_a_directory_that_is_missing(self, listeners: Listeners, tmp_path: Path) -> None:
        where = BindAddress(family=Family.UNIX, host=str(tmp_path / "no" / "s"))
        with pytest.raises(BindError, match="No such file or directory"):
            listeners.prepare([ListenAddress("public", where)], 1)
