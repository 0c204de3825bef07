"""One child process, as the supervisor holds it: its process, its control channel, its answers.

Owns starting by exec and noticing the end. Rules: a child inherits its control socket and standard
streams, nothing else, and only those environment variables it needs (references to secrets stay in
the supervisor); one that runs as another user is that user from its first instruction; its end is
learned from a pidfd, and it counts as gone only when everything it had said before has been read
too; every question has a time limit.
"""

from __future__ import annotations

import asyncio
import os
import site
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from proxy.app.control import ControlChannel
from proxy.app.failures import ChildGone, Refusal
from proxy.app.messages import (
    Abandon,
    Commit,
    Committed,
    ControlError,
    Drain,
    Drained,
    ListenerSocket,
    Lost,
    Message,
    Prepare,
    Prepared,
    Query,
    Refused,
    Snapshot,
    Started,
)
from proxy.config import SystemUser
from proxy.handoff import channel_pair

__all__ = ["CHILD_COMMAND", "Child", "child_environment"]

_log = structlog.get_logger("vestibule.supervisor")

CHILD_COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "proxy.app.child")
"""`-P`: the working directory must not be able to replace a module."""

_ANSWER_S = 30.0
"""Limit for starting and preparing: loading thousands of certificates takes seconds."""

_EXIT_GRACE_S = 5.0
"""From a closed control channel, or a passed drain deadline, to SIGKILL."""

_ENVIRONMENT = frozenset(
    {"HOME", "LANG", "LD_LIBRARY_PATH", "OPENSSL_CONF", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE"}
    | {"TMPDIR", "TZ", "VIRTUAL_ENV"}
)
_ENVIRONMENT_PREFIXES = ("LC_", "PYTHON")


class Child:
    """A running child process; build it with the loop running. Raises OSError."""

    def __init__(
        self,
        role: str,
        slot: int,
        incarnation: int,
        command: Sequence[str] = CHILD_COMMAND,
        user: SystemUser | None = None,
    ) -> None:
        """Start it, as `user` or as who we are."""
        self.role = role
        self.slot = slot
        self.incarnation = incarnation
        """Unique among all children of this supervisor."""
        self.generation = 0
        """The configuration it serves; 0: none yet."""
        self.attachable = False
        """Whether it has prepared once, so that it knows what to do with a hand-off channel."""
        self.draining = False
        self.on_lost: Callable[[Lost], None] = lambda _: None
        """Told of each hand-off channel that has ended at this front."""
        self.unanswered = 0
        """Questions whether it lives that were asked since it last said anything."""
        self.killed_for = ""
        """Why it was killed while it was to serve; else empty."""
        self.metrics: dict[str, Any] = {}
        """Its latest metrics snapshot."""
        self._loop = asyncio.get_running_loop()
        self.started_at = self._loop.time()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        """The return code, negative for a signal; done once all it said has been read."""
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._waiting: dict[tuple[str, int], asyncio.Future[Any]] = {}
        self._queries = 0
        self._process, self._pidfd, control = _spawned([*command, role, str(slot)], user)
        self.pid = self._process.pid
        self._channel: ControlChannel | None = ControlChannel(
            control, self._on_message, self._on_closed
        )
        self._loop.add_reader(self._pidfd, self._on_exit)

    @property
    def name(self) -> str:
        """`worker 1`: as logs and errors name it."""
        return f"{self.role} {self.slot}"

    @property
    def running(self) -> bool:
        """Whether it has not exited."""
        return not self.exited.done()

    @property
    def excused(self) -> bool:
        """Whether it is starting, changing its configuration or leaving: each of these has a limit
        of its own, and while it loads keys it answers nobody."""
        changing = any(what != "snapshot" for what, _ in self._waiting)
        return changing or not self._started.done() or self._channel is None

    def ask_alive(self) -> None:
        """Ask whether its loop runs. Whatever it says next is the answer."""
        self.unanswered += 1
        self._queries += 1
        self.send(Query(self._queries, "alive"))

    async def started(self) -> None:
        """Wait until its loop runs. Raises Refusal, ChildGone."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await asyncio.shield(self._started)
        except TimeoutError:
            raise Refusal(f"{self.name} does not start within {_ANSWER_S:g} s") from None

    async def prepare(
        self, generation: int, snapshot: bytes, listeners: tuple[ListenerSocket, ...]
    ) -> None:
        """Have it load a generation. Raises Refusal, ChildGone."""
        message = Prepare(generation, snapshot, listeners)
        await self._answer(("prepared", generation), message, _ANSWER_S)
        self.attachable = True

    async def commit(self, generation: int) -> None:
        """Have it serve a prepared generation. Raises Refusal (no answer), ChildGone."""
        await self._answer(("committed", generation), Commit(generation), _ANSWER_S)
        self.generation = generation

    def abandon(self, generation: int) -> None:
        """Have it forget a generation."""
        self.send(Abandon(generation))

    async def query(self, kind: str, limit_s: float) -> dict[str, Any]:
        """Ask for `metrics` or `status`. Raises Refusal (no answer within the limit), ChildGone."""
        self._queries += 1
        answer = await self._answer(
            ("snapshot", self._queries), Query(self._queries, kind), limit_s
        )
        return dict(answer)

    async def leave(self, deadline_s: float) -> None:
        """Drain it, and kill it when it does not leave in time; returns when it is gone."""
        self.draining = True
        self.send(Drain(deadline_s))
        await asyncio.wait({self.exited}, timeout=deadline_s + _EXIT_GRACE_S)
        if self.running:
            _log.warning("child_killed", child=self.name, pid=self.pid, reason="drain deadline")
            self.kill()
            await asyncio.wait({self.exited})

    def send(self, message: Message) -> None:
        """Send without waiting; nothing happens once it is gone."""
        if self._channel is not None:
            self._channel.send(message)

    def kill(self, reason: str = "") -> None:
        """SIGKILL. The reason is what metrics call it; a child that is leaving anyway has none."""
        if self.running:
            self.killed_for = self.killed_for or reason
            self._process.kill()

    async def _answer(self, key: tuple[str, int], message: Message, limit_s: float) -> Any:
        """Send a message and wait for what it is answered by."""
        if self._channel is None:
            raise ChildGone(f"{self.name} has exited")
        waiter = self._waiting[key] = self._loop.create_future()
        try:
            self._channel.send(message)
            async with asyncio.timeout(limit_s):
                return await waiter
        except TimeoutError:
            raise Refusal(f"{self.name} does not answer within {limit_s:g} s") from None
        except (ControlError, OSError) as error:
            raise Refusal(f"{self.name} cannot be told: {error}") from error
        finally:
            self._waiting.pop(key, None)

    def _on_message(self, message: Message) -> None:
        self.unanswered = 0
        match message:
            case Started():
                if not self._started.done():
                    self._started.set_result(None)
            case Prepared(generation):
                self._resolve(("prepared", generation))
            case Refused(generation, reason):
                waiter = self._waiting.get(("prepared", generation))
                if waiter is not None and not waiter.done():
                    waiter.set_exception(Refusal(f"{self.name}: {reason}"))
            case Committed(generation):
                self._resolve(("committed", generation))
            case Snapshot(number, kind, data):
                if kind == "metrics":
                    self.metrics = data
                self._resolve(("snapshot", number), data)
            case Lost():
                self.on_lost(message)
            case Drained():
                self.draining = True
            case _:
                _log.error("unexpected_message", child=self.name, kind=type(message).__name__)

    def _resolve(self, key: tuple[str, int], value: Any = None) -> None:
        waiter = self._waiting.get(key)
        if waiter is not None and not waiter.done():
            waiter.set_result(value)

    def _on_closed(self) -> None:
        self._channel = None
        for waiter in (self._started, *self._waiting.values()):
            if not waiter.done():
                waiter.set_exception(ChildGone(f"{self.name} exited before it answered"))
                waiter.exception()  # retrieved: nobody may be waiting
        if self._process.returncode is None:
            # It leaves, or it broke its channel: one that nobody controls must not live on.
            self._loop.call_later(_EXIT_GRACE_S, self.kill)
        self._finish()

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()  # reaps: a readable pidfd means that it is a zombie now
        self._finish()

    def _finish(self) -> None:
        returncode = self._process.returncode
        if returncode is not None and self._channel is None and not self.exited.done():
            self.exited.set_result(returncode)


def _spawned(
    command: Sequence[str], user: SystemUser | None
) -> tuple[subprocess.Popen[bytes], int, socket.socket]:
    """Start a process; gives it, its pidfd and our end of its control socket. Raises OSError."""
    ours, theirs = channel_pair()
    try:
        with theirs:
            process = subprocess.Popen(  # noqa: S603  our own interpreter
                [*command, "--control-fd", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                close_fds=True,
                process_group=0,  # a terminal's Ctrl-C is the supervisor's business
                env=child_environment(os.environ),
                user=None if user is None else user.uid,
                group=None if user is None else user.gid,
                extra_groups=None if user is None else (),  # it needs no file of anybody
            )
    except OSError as error:
        ours.close()
        if user is not None:
            text = f"{error.strerror}: {command[0]}, as {user.name}"
            raise OSError(error.errno, text) from error
        raise
    try:
        return process, os.pidfd_open(process.pid), ours
    except OSError:
        ours.close()
        process.kill()
        process.wait()
        raise


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables a child gets. A checkout that is not installed is made importable by path."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }
    root = str(Path(__file__).resolve().parents[2])
    if root not in (*site.getsitepackages(), site.getusersitepackages()):
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH"))))
    return kept
