"""The phases form one way from setup to the end."""

from __future__ import annotations

from proxy.app.phases import MOVES, Phase


def reachable(start: Phase) -> set[Phase]:
    seen: set[Phase] = set()
    pending = {start}
    while pending:
        phase = pending.pop()
        seen.add(phase)
        pending |= MOVES[phase] - seen
    return seen


def test_every_phase_is_reached_and_leads_to_the_end() -> None:
    assert reachable(Phase.SETUP) == set(Phase) == MOVES.keys()
    assert all(Phase.ENDED in reachable(phase) for phase in Phase)


def test_only_reloading_leads_back() -> None:
    order = list(Phase)
    back = {
        (phase, following)
        for phase, moves in MOVES.items()
        for following in moves
        if order.index(following) < order.index(phase)
    }
    assert back == {(Phase.RELOADING, Phase.RUNNING)}
