from __future__ import annotations

from proxy.upstream.balance import Balancer


def three() -> Balancer:
    """Three servers, aside after 2 failures for 10 s, then up to 35 s."""
    return Balancer(3, failures=2, set_aside_s=10.0, max_s=35.0)


def firsts(balancer: Balancer, now: float, count: int = 6) -> list[int]:
    return [balancer.order(now)[0] for _ in range(count)]


def fail(balancer: Balancer, server: int, now: float, times: int = 2) -> float | None:
    aside = None
    for _ in range(times):
        balancer.picked(server, now)
        aside = balancer.failed(server, now)
    return aside


def test_servers_take_turns() -> None:
    balancer = three()
    assert firsts(balancer, 0.0) == [0, 1, 2, 0, 1, 2]
    assert list(balancer.order(0.0)) == [0, 1, 2], "the others follow, for a second try"


def test_one_server_needs_no_turns() -> None:
    balancer = Balancer(1, failures=1, set_aside_s=10.0, max_s=35.0)
    assert fail(balancer, 0, 0.0, times=1) == 10.0
    assert list(balancer.order(0.0)) == [0]


def test_failures_in_a_row_set_aside() -> None:
    balancer = three()
    assert fail(balancer, 1, 0.0, times=1) is None
    assert not balancer.succeeded(1)
    assert fail(balancer, 1, 0.0, times=1) is None, "an answer between: not in a row"
    assert fail(balancer, 1, 0.0, times=1) == 10.0
    assert not balancer.in_rotation(1)
    assert set(firsts(balancer, 9.9)) == {0, 2}


def test_one_request_tries_a_server_whose_time_is_over() -> None:
    balancer = three()
    fail(balancer, 1, 0.0)
    assert 1 in balancer.order(10.0)
    balancer.picked(1, 10.0)
    assert 1 not in balancer.order(10.0), "one is enough"
    assert balancer.succeeded(1)
    assert balancer.in_rotation(1)
    assert not balancer.succeeded(1)
    assert set(firsts(balancer, 10.0)) == {0, 1, 2}


def test_a_failed_trial_doubles_the_time_up_to_the_limit() -> None:
    balancer = three()
    now, times = 0.0, [fail(balancer, 1, 0.0)]
    for _ in range(3):
        now += times[-1] or 0.0
        assert 1 in balancer.order(now)
        times.append(fail(balancer, 1, now, times=1))
    assert times == [10.0, 20.0, 35.0, 35.0]
    balancer.succeeded(1)
    assert fail(balancer, 1, now) == 10.0, "back-off starts anew after an answer"


def test_a_trial_without_an_outcome_is_followed_by_another() -> None:
    balancer = three()
    fail(balancer, 1, 0.0)
    balancer.picked(1, 10.0)
    assert 1 not in balancer.order(19.9)
    assert 1 in balancer.order(20.0)


def test_requests_that_were_under_way_do_not_make_it_longer() -> None:
    balancer = three()
    for _ in range(50):
        balancer.picked(1, 0.0)
    asides = [balancer.failed(1, 1.0) for _ in range(50)]
    assert [aside for aside in asides if aside] == [10.0]
    assert 1 in balancer.order(11.0)


def test_all_aside_tries_the_earliest_to_return() -> None:
    balancer = three()
    for server, now in ((2, 0.0), (0, 1.0), (1, 2.0)):
        fail(balancer, server, now)
    assert list(balancer.order(3.0)) == [2]
    balancer.picked(2, 3.0)
    assert balancer.failed(2, 3.0) is None, "tried before its time: no longer aside for it"
    assert list(balancer.order(3.0)) == [0], "and the next one is tried next"
    assert balancer.succeeded(0)
    assert firsts(balancer, 3.0) == [0] * 6
