"""Deadlines expire in time and never early, and cost nothing while they are far away."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.front import DeadlineWheel

TICK_S = 0.25


def test_a_deadline_expires_within_one_tick_and_not_before() -> None:
    wheel = DeadlineWheel(600.0, TICK_S, now=100.0)
    wheel.set(5, 110.0)
    assert wheel.expire(109.99) == []
    assert wheel.expire(110.0 + TICK_S) == [5]
    assert wheel.expire(200.0) == []


def test_a_moved_deadline_counts_alone() -> None:
    wheel = DeadlineWheel(600.0, TICK_S, now=0.0)
    wheel.set(5, 1.0)
    wheel.set(5, 20.0)
    assert wheel.expire(10.0) == []
    assert wheel.expire(21.0) == [5]


def test_a_cleared_deadline_never_comes_and_clearing_twice_is_nothing() -> None:
    wheel = DeadlineWheel(600.0, TICK_S, now=0.0)
    wheel.set(5, 1.0)
    wheel.clear(5)
    wheel.clear(5)
    wheel.clear(50_000)
    assert wheel.expire(10.0) == []


def test_descriptors_beyond_the_first_size_are_taken() -> None:
    wheel = DeadlineWheel(600.0, TICK_S, now=0.0)
    wheel.set(200_000, 1.0)
    wheel.set(3, 1.0)
    assert sorted(wheel.expire(2.0)) == [3, 200_000]


def test_after_a_pause_longer_than_the_wheel_everything_has_expired_once() -> None:
    wheel = DeadlineWheel(10.0, TICK_S, now=0.0)
    for descriptor in range(100):
        wheel.set(descriptor, descriptor / 10)
    assert sorted(wheel.expire(100_000.0)) == list(range(100))
    wheel.set(1, 100_005.0)
    assert wheel.expire(100_004.0) == []
    assert wheel.expire(100_006.0) == [1]


def test_a_clock_that_stands_still_or_steps_back_expires_nothing_early() -> None:
    wheel = DeadlineWheel(10.0, TICK_S, now=50.0)
    wheel.set(1, 55.0)
    assert wheel.expire(50.0) == []
    assert wheel.expire(10.0) == []
    wheel.set(2, 12.0)
    assert wheel.expire(56.0) == [2, 1]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 40), st.floats(0, 30)),
        st.tuples(st.just("clear"), st.integers(0, 40), st.just(0.0)),
        st.tuples(st.just("wait"), st.just(0), st.floats(0, 40)),
    ),
    max_size=60,
)


@given(operations)
def test_it_behaves_as_a_dict_of_deadlines(steps: list[tuple[str, int, float]]) -> None:
    now = 1000.0
    wheel = DeadlineWheel(30.0, TICK_S, now)
    model: dict[int, float] = {}
    for action, descriptor, value in steps:
        if action == "set":
            wheel.set(descriptor, now + value)
            model[descriptor] = now + value
        elif action == "clear":
            wheel.clear(descriptor)
            model.pop(descriptor, None)
        else:
            now += value
            for expired in wheel.expire(now):
                assert model.pop(expired) <= now
            assert all(deadline > now - 2 * TICK_S for deadline in model.values())
    assert set(wheel.expire(now + 40.0)) == model.keys()
