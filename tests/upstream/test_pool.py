from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.upstream.pool import Pool


def filled(*connections: str, max_connections: int = 10, max_idle: int = 10) -> Pool[str]:
    """A pool whose connections became idle at 0, 1, 2, ... seconds."""
    pool = Pool[str](max_connections, max_idle, idle_timeout_s=60.0)
    for _ in connections:
        assert pool.reserve()
    for now, connection in enumerate(connections):
        assert pool.put(connection, float(now)) is None
    return pool


def test_nothing_idle_at_first() -> None:
    pool = filled()
    assert pool.take(0.0) is None
    assert (pool.in_use, pool.idle, pool.next_expiry()) == (0, 0, None)


def test_the_newest_is_taken_first() -> None:
    pool = filled("a", "b", "c")
    assert [pool.take(3.0) for _ in range(4)] == ["c", "b", "a", None]
    assert pool.in_use == 3


def test_idle_and_in_use_share_the_limit() -> None:
    pool = filled("a", "b", max_connections=3)
    assert pool.reserve()
    assert not pool.reserve()
    assert pool.take(3.0) == "b"
    assert not pool.reserve()
    pool.forget()
    assert pool.reserve()


def test_one_too_many_idle_closes_the_oldest() -> None:
    pool = filled("a", "b", max_idle=2)
    assert pool.reserve()
    assert pool.put("c", 2.0) == "a"
    assert pool.idle == 2


def test_none_idle_allowed_closes_the_one_that_comes() -> None:
    pool = filled(max_idle=0)
    assert pool.reserve()
    assert pool.put("a", 0.0) == "a"
    assert (pool.in_use, pool.idle) == (0, 0)


def test_the_expired_are_handed_out_and_never_taken() -> None:
    pool = filled("a", "b", "c")
    assert pool.next_expiry() == 60.0
    assert pool.expire(59.9) == []
    assert pool.expire(61.0) == ["a", "b"]
    assert pool.next_expiry() == 62.0
    assert pool.take(62.0) is None, "expired, though nobody has collected it yet"
    assert pool.expire(62.0) == ["c"]


def test_one_that_ended_by_itself_is_forgotten() -> None:
    pool = filled("a", "b")
    assert pool.drop("b")
    assert not pool.drop("b")
    assert pool.take(2.0) == "a"


def test_drained_is_empty() -> None:
    pool = filled("a", "b")
    assert pool.drain() == ["a", "b"]
    assert (pool.idle, pool.drain()) == (0, [])


class PoolMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: nothing is lost, doubled or above its limit."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool[int](4, 2, idle_timeout_s=10.0)
        self.now = 0.0
        self.dialing = 0
        self.leased: set[int] = set()
        self.idle: set[int] = set()
        self.made = 0

    @rule()
    def acquire(self) -> None:
        connection = self.pool.take(self.now)
        if connection is not None:
            self.idle.remove(connection)
            self.leased.add(connection)
        elif self.pool.reserve():
            self.dialing += 1
        else:
            assert self.dialing + len(self.leased) + len(self.idle) == 4

    @precondition(lambda self: self.dialing)
    @rule(works=st.booleans())
    def dialed(self, works: bool) -> None:
        self.dialing -= 1
        if works:
            self.made += 1
            self.leased.add(self.made)
        else:
            self.pool.forget()

    @precondition(lambda self: self.leased)
    @rule(keep=st.booleans())
    def end(self, keep: bool) -> None:
        connection = self.leased.pop()
        if keep:
            self.idle.add(connection)
            self.idle.discard(self.pool.put(connection, self.now) or 0)
        else:
            self.pool.forget()

    @precondition(lambda self: self.idle)
    @rule()
    def breaks(self) -> None:
        assert self.pool.drop(self.idle.pop())

    @rule(seconds=st.floats(0.0, 12.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        for connection in self.pool.expire(self.now):
            self.idle.remove(connection)
        expiry = self.pool.next_expiry()
        assert expiry is None or expiry > self.now

    @invariant()
    def counts_agree(self) -> None:
        assert self.pool.in_use == self.dialing + len(self.leased)
        assert self.pool.idle == len(self.idle) <= 2
        assert self.pool.in_use + self.pool.idle <= 4


TestPoolMachine = PoolMachine.TestCase
