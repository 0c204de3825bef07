"""Cookie keys are replaced every minute and the previous one still redeems."""

from itertools import count

from proxy.front import CookieKeys


def _keys(now: float) -> CookieKeys:
    numbers = count(1)
    return CookieKeys(lambda size: next(numbers).to_bytes(size), now)


def test_the_key_changes_after_a_minute_and_the_former_is_accepted_for_one_more() -> None:
    keys = _keys(0.0)
    first = keys.current(0.0)
    assert keys.current(59.9) is first
    second = keys.current(60.0)
    assert second.reveal() != first.reveal()
    assert [key.reveal() for key in keys.accepted(119.9)] == [second.reveal(), first.reveal()]
    assert first.reveal() not in [key.reveal() for key in keys.accepted(120.0)]
