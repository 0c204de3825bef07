"""All child processes: slots, their children, and the hand-off channels between them.

Owns the bookkeeping of starts, deaths and restarts. Rules: every front that can take a channel is
connected with every such worker by one socketpair per pair of incarnations, of which the supervisor
keeps no end; a slot outlives its children; facts for the planner are plain values.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from proxy.app.children import CHILD_COMMAND, Child
from proxy.app.messages import Attach, Lost, Message
from proxy.app.planner import QUICK_S, SlotFacts
from proxy.app.role import FRONT, WORKER
from proxy.config import SystemUser
from proxy.handoff import channel_pair

__all__ = ["Fleet", "Slot"]

_log = structlog.get_logger("vestibule.supervisor")

_CONNECT_AGAIN_S = 1.0
"""From a channel's end to its successor. A process that has died is known to be dead by then, and
one that breaks every channel does not keep the others busy."""


@dataclass(slots=True)
class Slot:
    """A place for one child at a time."""

    role: str
    number: int
    child: Child | None = None
    died_at: float = 0.0
    quick_deaths: int = 0
    restarts: int = 0
    """Children started here in place of one that died unasked."""

    @property
    def facts(self) -> SlotFacts:
        """What the planner needs to know."""
        child = self.child
        return SlotFacts(
            self.role,
            self.number,
            started_at=None if child is None else child.started_at,
            died_at=self.died_at,
            quick_deaths=self.quick_deaths,
            retiring=child is not None and child.draining,
        )


class Fleet:
    """The supervisor's children. `on_exit` is told of each that is gone, after the bookkeeping."""

    def __init__(
        self,
        on_exit: Callable[[Child], None],
        command: Sequence[str] = CHILD_COMMAND,
        users: Mapping[str, SystemUser] | None = None,
    ) -> None:
        """``users``: who children of a role run as; those of other roles as who we are."""
        self._on_exit = on_exit
        self._command = tuple(command)
        self._users = dict(users or {})
        self._slots: dict[tuple[str, int], Slot] = {}
        self._incarnations = itertools.count(1)
        self._connected: set[tuple[int, int]] = set()

    @property
    def slots(self) -> list[Slot]:
        """All slots that ever had a child, fronts first."""
        return [self._slots[key] for key in sorted(self._slots)]

    def __iter__(self) -> Iterator[Child]:
        """The children that have not exited."""
        return (slot.child for slot in self.slots if slot.child is not None)

    def of(self, role: str) -> list[Child]:
        """The children of one role that have not exited."""
        return [child for child in self if child.role == role]

    def child(self, role: str, number: int) -> Child | None:
        """The child in a slot."""
        slot = self._slots.get((role, number))
        return None if slot is None else slot.child

    def start(self, role: str, number: int) -> Child:
        """Start a child in an empty slot. Raises OSError when no process can be made."""
        slot = self._slots.setdefault((role, number), Slot(role, number))
        try:
            child = Child(
                role,
                number,
                next(self._incarnations),
                self._command,
                self._users.get(role),
            )
        except OSError:
            slot.died_at = asyncio.get_running_loop().time()
            slot.quick_deaths += 1
            raise
        slot.child = child
        child.on_lost = lambda lost: self._lost(child, lost)
        child.exited.add_done_callback(lambda _: self._exited(slot, child))
        _log.info("process_started", child=child.name, pid=child.pid)
        return child

    def connect(self, child: Child) -> None:
        """Give hand-off channels to `child` and to every peer it has none with yet."""
        for peer in self.of(WORKER if child.role == FRONT else FRONT):
            front, worker = (child, peer) if child.role == FRONT else (peer, child)
            pair = (front.incarnation, worker.incarnation)
            if pair in self._connected or not (front.attachable and worker.attachable):
                continue
            if front.draining or worker.draining:
                continue
            self._connected.add(pair)
            try:
                _attach(front, worker)
            except OSError as error:
                # Out of descriptors or memory. Its successor is connected anew.
                _log.error("child_killed", child=child.name, pid=child.pid, reason=str(error))
                child.kill("refused")
                return

    def send(self, message: Message) -> None:
        """Send to every child."""
        for child in self:
            child.send(message)

    def kill(self) -> None:
        """SIGKILL every child: we are leaving, so that is no death to report."""
        for child in self:
            child.draining = True
            child.kill()

    async def gone(self) -> None:
        """Wait until no child is left."""
        while waits := [child.exited for child in self]:
            await asyncio.wait(waits)

    def _lost(self, front: Child, lost: Lost) -> None:
        pair = (front.incarnation, lost.incarnation)
        if pair in self._connected:
            self._connected.discard(pair)
            loop = asyncio.get_running_loop()
            loop.call_later(_CONNECT_AGAIN_S, self._connect_again, front)

    def _connect_again(self, front: Child) -> None:
        if front.running and not front.draining:
            self.connect(front)

    def _exited(self, slot: Slot, child: Child) -> None:
        now = asyncio.get_running_loop().time()
        slot.child = None
        slot.died_at = now
        self._connected = {pair for pair in self._connected if child.incarnation not in pair}
        returncode = child.exited.result()
        if child.draining:
            slot.quick_deaths = 0
            _log.info("process_left", child=child.name, pid=child.pid, status=returncode)
        else:
            quick = now - child.started_at < QUICK_S
            slot.quick_deaths = slot.quick_deaths + 1 if quick else 0
            slot.restarts += 1
            _log.error("process_died", child=child.name, pid=child.pid, status=returncode)
        self._on_exit(child)


def _attach(front: Child, worker: Child) -> None:
    """Give both an end of one channel. Raises OSError."""
    ours, theirs = channel_pair()
    with ours, theirs:
        worker.send(Attach(FRONT, front.slot, front.incarnation, theirs.fileno()))
        front.send(Attach(WORKER, worker.slot, worker.incarnation, ours.fileno()))
