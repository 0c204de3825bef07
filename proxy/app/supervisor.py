"""The supervisor: brings the children up, keeps them up, changes their configuration, takes them
down.

Owns the phases, the present generation and the order of things. Rules: it alone reads files and
secrets and holds listening sockets; it serves no client, so whatever fails here leaves the serving
processes alone; nothing in its loop waits without a limit.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from proxy.app.admin import Admin
from proxy.app.children import CHILD_COMMAND, Child
from proxy.app.desired import Desired
from proxy.app.failures import ChildGone, OperatorError, Refusal
from proxy.app.fleet import Fleet
from proxy.app.listeners import Listeners
from proxy.app.measures import Measures
from proxy.app.messages import ReopenLogs
from proxy.app.notify import notify_manager
from proxy.app.phases import MOVES, Phase
from proxy.app.planner import plan
from proxy.app.reload import Generation, bring_up, switch
from proxy.app.role import FRONT, ROLES, WORKER
from proxy.app.status import Health, Reload, health, overview
from proxy.app.tasks import Tasks, until
from proxy.app.watchdog import ROUNDS, Watchdog
from proxy.config import SystemUser
from proxy.telemetry import Metrics

__all__ = ["Supervisor"]

_log = structlog.get_logger("vestibule.supervisor")

_COLLECT_EVERY_S = 10.0
"""How often metrics are fetched unasked: what a killed child had counted since is lost."""

_QUERY_S = 1.0
"""Limit for a child's answer to a query; without one its last numbers stand."""


class Supervisor:
    """One run of the proxy. `load` reads the configuration, raising LoadFailed."""

    def __init__(
        self,
        load: Callable[[], Desired],
        *,
        command: Sequence[str] = CHILD_COMMAND,
        users: Mapping[str, SystemUser] | None = None,
        metrics: Metrics | None = None,
        on_running: Callable[[], None] = lambda: None,
        reopen_logs: Callable[[], None] = lambda: None,
    ) -> None:
        self._load = load
        self._on_running = on_running
        self._reopen_own_logs = reopen_logs
        self._phase = Phase.SETUP
        self._generation: Generation | None = None
        self._attempts = 0
        self._last_reload = Reload()
        self._loop = asyncio.get_running_loop()
        self._fleet = Fleet(self._on_exit, command, users)
        self._tasks = Tasks()
        self._joining: set[Child] = set()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._changed = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._measures = Measures(
            metrics or Metrics(), self._present_number, lambda role: len(self._fleet.of(role))
        )
        self._listeners = Listeners()
        self._admin = Admin(self)
        self._started_at = self._loop.time()

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        return self._phase

    @property
    def admin(self) -> Admin:
        """The admin servers, for the addresses they are bound to."""
        return self._admin

    async def run(self, desired: Desired) -> int:
        """Serve `desired` until told to stop. Returns the exit status; raises BindError, Refusal
        when it cannot start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        self._loop.add_signal_handler(signal.SIGUSR1, self.reopen_logs)
        try:
            if not await self._start(desired):
                return 0
            # Without its keeper a supervisor keeps nothing: then it ends, to be started again.
            keeper = self._tasks.start(self._keep(), "keep")
            keeper.add_done_callback(lambda _: self._stop.set())
            self._tasks.start(self._collect(), "collect")
            self._tasks.start(self._watch(), "watch")
            await self._stop.wait()
            await self._drain()
            return 1 if keeper.done() and keeper.exception() else 0
        finally:
            await self._end()

    def stop(self) -> None:
        """Drain and end; called again: end now."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def reopen_logs(self) -> None:
        """Open log files again, here and in every child."""
        self._reopen_own_logs()
        self._fleet.send(ReopenLogs())
        _log.info("logs_reopened")

    async def reload(self) -> int:
        """Read the configuration again and change to it; returns the new generation's number.

        Raises LoadFailed, BindError or Refusal, with the old generation serving on.
        """
        async with self._reloading:
            if self._phase is not Phase.RUNNING:
                _log.warning("reload_ignored", phase=self._phase.value)
                raise Refusal(f"cannot reload while {self._phase.value}")
            self._move(Phase.RELOADING)
            notify_manager("RELOADING=1", monotonic=True)
            try:
                if not await until(self._stop, self._change()):
                    raise Refusal("stopping")
            except OperatorError as error:
                _log.error("reload_failed", error=str(error))
                self._reloaded(Reload.failed(str(error)))
                raise
            except Exception as error:
                # A bug of ours, or no memory: serving goes on as after any other failure.
                _log.error("reload_failed", error=repr(error), exc_info=True)
                self._reloaded(Reload.failed(repr(error)))
                raise OperatorError(f"unexpected: {error!r}") from error
            _log.info("reload_succeeded", generation=self._present_number())
            self._reloaded(Reload.succeeded())
            return self._present_number()

    def health(self) -> Health:
        """What `/healthz` and `/readyz` say."""
        return health(self._phase, self._present_number(), self._fleet, self._loop.time())

    async def metrics(self) -> bytes:
        """The exposition of all processes' metrics, with fresh numbers of those that answer."""
        await self._ask_all("metrics")
        return self._measures.exposition()

    async def overview(self) -> dict[str, Any]:
        """What `vestibule status` shows."""
        answers = await self._ask_all("status")
        now = self._loop.time()
        return overview(
            phase=self._phase,
            generation=self._generation,
            reload=self._last_reload,
            uptime_s=now - self._started_at,
            fleet=self._fleet,
            answers=answers,
            now=now,
        )

    def _reloaded(self, result: Reload) -> None:
        self._last_reload = result
        self._measures.reloaded(result)
        if self._phase is Phase.RELOADING:  # and not draining meanwhile
            self._move(Phase.RUNNING)
            notify_manager("READY=1")

    async def _start(self, desired: Desired) -> bool:
        """Bring everything up; False when told to stop meanwhile."""
        self._move(Phase.BINDING)
        sockets = self._listeners.prepare(desired.addresses, desired.processes[FRONT])
        self._listeners.commit(sockets)
        self._admin.commit(await self._admin.prepare(desired.admin))
        self._move(Phase.STARTING)
        for role in ROLES:
            for slot in range(desired.processes[role]):
                try:
                    self._fleet.start(role, slot)
                except OSError as error:
                    raise Refusal(f"cannot start {role} {slot}: {error.strerror}") from error
        self._attempts += 1
        target = Generation(self._attempts, desired, sockets)
        if not await until(self._stop, self._switch(target, lambda: None)):
            return False
        self._move(Phase.RUNNING)
        _log.info(
            "running",
            generation=target.number,
            listeners=sockets.binds,
            admin=self._admin.listen,
        )
        notify_manager("READY=1")
        self._on_running()
        return True

    async def _change(self) -> None:
        """The work of a reload. Whatever ends it early leaves everything as it was."""
        desired, listeners = self._load(), self._listeners
        sockets = listeners.prepare(desired.addresses, desired.processes[FRONT])
        try:
            admin = await self._admin.prepare(desired.admin)
        except BaseException:
            listeners.abandon(sockets)
            raise
        self._attempts += 1
        target = Generation(self._attempts, desired, sockets)
        try:
            await self._switch(target, lambda: listeners.commit(sockets))
        except BaseException:
            listeners.abandon(sockets)
            self._admin.abandon(admin)
            raise
        self._admin.commit(admin)
        self._changed.set()

    async def _switch(self, target: Generation, decided: Callable[[], None]) -> None:
        def prepared() -> None:
            decided()
            self._generation = target
            for child in self._fleet.of(FRONT):
                self._fleet.connect(child)

        counts = target.desired.processes
        members = [  # those that the target has no place for end with the present generation
            child
            for child in self._fleet
            if child.slot < counts[child.role]
            and not child.draining
            and (child.generation or self._generation is None)
        ]
        await switch(target, members, prepared)
        for child in self._fleet:  # those that came up while this went on
            if child.generation not in (0, target.number) and child not in self._joining:
                self._tasks.start(self._join(child), f"join {child.name}")

    async def _keep(self) -> None:
        """Compare what runs with what should, and act on the difference, for as long as we run."""
        while not self._stop.is_set():
            self._changed.clear()
            generation = self._present()
            slots = [slot.facts for slot in self._fleet.slots]
            actions = plan(generation.desired.processes, slots, self._loop.time())
            for role, number in actions.start:
                self._replace(role, number)
            for role, number in actions.retire:
                child = self._fleet.child(role, number)
                if child is not None:
                    self._tasks.start(child.leave(generation.desired.drain_s), "retire")
            try:
                async with asyncio.timeout_at(actions.look_again_at):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _replace(self, role: str, number: int) -> None:
        try:
            child = self._fleet.start(role, number)
        except OSError as error:
            _log.error("process_not_started", child=f"{role} {number}", error=str(error))
            self._changed.set()  # it counts as a quick death: plan again
            return
        self._tasks.start(self._join(child), f"join {child.name}")

    async def _join(self, child: Child) -> None:
        self._joining.add(child)
        try:
            await bring_up(child, self._present, self._fleet.connect)
        except Refusal as error:
            _log.error("child_killed", child=child.name, pid=child.pid, reason=str(error))
            child.kill("refused")
        except ChildGone:
            return  # its exit has been noticed and is being acted on
        finally:
            self._joining.discard(child)

    async def _collect(self) -> None:
        while True:
            await asyncio.sleep(_COLLECT_EVERY_S)
            await self._ask_all("metrics")

    async def _watch(self) -> None:
        """Kill children that do not answer: `_keep` replaces them as it does all who die."""
        watchdog = Watchdog()
        while True:
            every_s = self._present().desired.stuck_s / ROUNDS
            watched = [child for child in self._fleet if not child.killed_for]
            for child in watchdog.round(watched, every_s, self._loop.time()):
                _log.error("process_stuck", child=child.name, pid=child.pid)
                child.kill("stuck")
            await asyncio.sleep(every_s)

    async def _ask_all(self, kind: str) -> dict[Child, dict[str, Any]]:
        async def ask(child: Child) -> dict[str, Any]:
            try:
                answer = await child.query(kind, _QUERY_S)
            except (Refusal, ChildGone):
                return {}
            if kind == "metrics":
                self._measures.update(child, answer)  # now: once it is gone it would be too late
            return answer

        children = [child for child in self._fleet if child.generation]
        answers = await asyncio.gather(*(ask(child) for child in children))
        return dict(zip(children, answers, strict=True))

    async def _drain(self) -> None:
        self._move(Phase.DRAINING)
        notify_manager("STOPPING=1")
        drain_s = self._present().desired.drain_s
        _log.info("draining", deadline_s=drain_s)
        self._listeners.close()  # the fronts' copies are the last: what is queued is theirs
        await until(self._hurry, self._leave(self._loop.time() + drain_s))

    async def _leave(self, deadline: float) -> None:
        # Fronts first: what they still hand over needs workers that take it.
        for role in (FRONT, WORKER):
            rest_s = max(0.0, deadline - self._loop.time())
            await asyncio.gather(*(child.leave(rest_s) for child in self._fleet.of(role)))

    async def _end(self) -> None:
        self._move(Phase.STOPPING)
        await self._tasks.cancel()
        self._fleet.kill()
        await self._fleet.gone()
        self._listeners.close()
        await self._admin.close()
        self._move(Phase.ENDED)

    def _on_exit(self, child: Child) -> None:
        self._measures.retire(child, died=not child.draining)
        self._changed.set()

    def _on_hangup(self) -> None:
        async def work() -> None:
            try:
                await self.reload()
            except OperatorError:
                return  # logged, counted, and shown by status

        self._tasks.start(work(), "reload")

    def _present(self) -> Generation:
        if self._generation is None:
            raise Refusal("not running")
        return self._generation

    def _present_number(self) -> int:
        return 0 if self._generation is None else self._generation.number

    def _move(self, phase: Phase) -> None:
        if phase not in MOVES[self._phase]:
            raise RuntimeError(f"from {self._phase.value} to {phase.value}")
        self._phase = phase
        _log.debug("phase", phase=phase.value)
