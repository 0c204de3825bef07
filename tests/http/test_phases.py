"""The map of phases, and that requests keep to it."""

from __future__ import annotations

import asyncio

import pytest

from proxy.http import Phase, table
from proxy.http.journal import Journal
from proxy.http.phases import FOLLOWS
from tests.http.rig import GET, OK, Peer, Rig
from tests.http.test_tunnel import SWITCH, UPGRADE


def test_every_phase_is_in_the_map_and_in_the_table() -> None:
    assert set(FOLLOWS) == set(Phase)
    reached = {Phase.READ_HEAD}.union(*FOLLOWS.values())
    assert reached == set(Phase)
    text = table()
    for phase in Phase:
        assert f"{phase.name.lower():15} {phase.value}" in text
    assert text.splitlines()[-1].split() == ["then:", "-"]


async def test_requests_go_through_the_phases_as_the_map_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[tuple[Phase, Phase]] = []
    enter = Journal.enter

    def noting(self: Journal, phase: Phase) -> None:
        steps.append((self.phase, phase))
        enter(self, phase)

    monkeypatch.setattr(Journal, "enter", noting)

    async def varied(peer: Peer) -> None:
        while True:
            target = (await peer.head()).split(b" ")[1]
            if target == b"/close":
                return
            if target == b"/ws":
                peer.send(SWITCH)
                return
            if target == b"/junk":
                peer.send(b"junk\r\n\r\n")
                return
            if target == b"/long":
                peer.send(OK[:-2])
                await peer.flush()
                await released.wait()
                peer.send(b"ok")
                continue
            peer.send(OK)

    released = asyncio.Event()
    async with Rig(varied) as rig, rig.client() as client:
        for target in (b"/", b"/close", b"/junk", b"/", b"/../x"):
            client.send(GET.replace(b"/ ", target + b" "))
            await client.response()
            await rig.record()
    async with Rig(varied) as rig, rig.client() as client:
        client.send(GET.replace(b"/ ", b"/long "))
        await client.head()
        released.set()
        await client.exactly(2)
        client.send(UPGRADE)
        await client.head()
        await rig.record()
        client.end()
        await client.rest()
        await rig.record()
    async with Rig(varied) as rig, rig.client() as client:
        client.send(b"GET")
        client.end()
        await client.rest()
        await rig.record()
    wrong = [step for step in steps if step[1] not in FOLLOWS[step[0]]]
    assert wrong == []
    assert {after for _, after in steps} == set(Phase) - {Phase.READ_HEAD}
