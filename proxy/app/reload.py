"""The two-phase change to a new generation, over any set of children.

Rules: everybody prepares before anybody commits, workers before fronts in both phases, so that what
a new front hands over finds a worker that understands it; one refusal, silence or death while
preparing abandons the generation everywhere and the old one serves on. After the decision there is
no way back: a child that cannot commit is killed, and its successor starts with the new generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from proxy.app.children import Child
from proxy.app.desired import Desired
from proxy.app.failures import ChildGone, Refusal
from proxy.app.listeners import Prospect
from proxy.app.messages import ListenerSocket
from proxy.app.role import FRONT, ROLES

__all__ = ["Generation", "bring_up", "switch"]

_log = structlog.get_logger("vestibule.supervisor")


@dataclass(frozen=True, slots=True)
class Generation:
    """A numbered configuration with its sockets."""

    number: int
    """Rises with every attempt, so a number that was refused is never used again."""
    desired: Desired = field(repr=False)
    sockets: Prospect = field(repr=False)

    def snapshot(self, role: str) -> bytes:
        """What a child of this role is sent."""
        return self.desired.snapshots[role]

    def listeners(self, child: Child) -> tuple[ListenerSocket, ...]:
        """The listening sockets of this child."""
        return self.sockets.of_front(child.slot) if child.role == FRONT else ()


async def switch(
    target: Generation,
    children: Sequence[Child],
    prepared: Callable[[], None],
) -> None:
    """Move all children to `target`, or none. Raises Refusal, with the old generation serving.

    `prepared` is called between the phases: what it does is part of the decision.
    """
    try:
        for role in ROLES:
            await _prepare([child for child in children if child.role == role], target)
    except BaseException:  # cancellation too: whoever stops us must not leave half a change
        for child in children:
            child.abandon(target.number)
        raise
    prepared()
    for role in ROLES:
        await asyncio.gather(*(_commit(child, target) for child in children if child.role == role))


async def bring_up(
    child: Child, present: Callable[[], Generation], prepared: Callable[[Child], None]
) -> None:
    """Take a newly started child to the present generation, which may change meanwhile.

    Raises Refusal, ChildGone. `prepared` is called after each preparation.
    """
    await child.started()
    while child.generation != (target := present()).number:
        if child.slot >= target.desired.processes[child.role]:
            return  # it has no place any more, and is about to be retired
        await child.prepare(target.number, target.snapshot(child.role), target.listeners(child))
        if present() is not target:
            child.abandon(target.number)
            continue
        prepared(child)
        await child.commit(target.number)


async def _prepare(children: Sequence[Child], target: Generation) -> None:
    results = await asyncio.gather(
        *(_prepare_one(child, target) for child in children), return_exceptions=True
    )
    for result in results:
        if isinstance(result, ChildGone):
            # Perhaps the new configuration killed it: its successors would die as well.
            raise Refusal(str(result))
        if isinstance(result, BaseException):
            raise result


async def _prepare_one(child: Child, target: Generation) -> None:
    await child.started()
    await child.prepare(target.number, target.snapshot(child.role), target.listeners(child))


async def _commit(child: Child, target: Generation) -> None:
    try:
        await child.commit(target.number)
    except Refusal as error:
        _log.error("child_killed", child=child.name, pid=child.pid, reason=str(error))
        child.kill("refused")
    except ChildGone:
        return  # its successor starts with the new generation
