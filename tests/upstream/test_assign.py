from __future__ import annotations

from proxy.upstream import BackendSettings, ServerAddress
from proxy.upstream.assign import Assigner, Dial, Reuse, Unassigned

SERVERS = tuple(ServerAddress.parse(f"http://127.0.0.{number}") for number in (1, 2))


def assigner(*, max_connections: int = 2) -> Assigner[str]:
    return Assigner[str](
        BackendSettings(name="app", servers=SERVERS, max_connections=max_connections, failures=1)
    )


def test_the_first_requests_dial_in_turn() -> None:
    group = assigner()
    assert [group.assign(0.0, ()) for _ in range(4)] == [Dial(0), Dial(1), Dial(0), Dial(1)]
    assert group.assign(0.0, ()) is Unassigned.FULL


def test_an_idle_connection_of_the_server_whose_turn_it_is() -> None:
    group = assigner()
    assert group.assign(0.0, ()) == Dial(0)
    group.pools[0].put("kept", 0.0)
    assert group.assign(0.0, ()) == Dial(1)
    assert group.assign(0.0, ()) == Reuse(0, "kept")


def test_a_full_server_is_passed_over() -> None:
    group = assigner(max_connections=1)
    assert group.assign(0.0, ()) == Dial(0)
    group.balancer.order(0.0)
    assert group.assign(0.0, ()) == Dial(1), "though it was the other's turn"


def test_a_server_that_was_tried_is_not_tried_again() -> None:
    group = assigner()
    assert group.assign(0.0, {0}) == Dial(1)
    assert group.assign(0.0, {0}) == Dial(1)
    assert group.assign(0.0, {0}) is Unassigned.FULL
    assert group.assign(0.0, {0, 1}) is Unassigned.TRIED


def test_a_server_set_aside_gets_nothing_while_another_may() -> None:
    group = assigner()
    group.balancer.failed(0, 0.0)
    assert [group.assign(0.0, ()) for _ in range(2)] == [Dial(1), Dial(1)]
    assert group.assign(0.0, ()) is Unassigned.FULL, "full is not failed: the set-aside one rests"


def test_the_next_expiry_is_the_first_of_all() -> None:
    group = assigner()
    assert group.next_expiry() is None
    for now, server in ((5.0, 1), (3.0, 0)):
        group.pools[server].reserve()
        group.pools[server].put("kept", now)
    assert group.next_expiry() == 63.0
