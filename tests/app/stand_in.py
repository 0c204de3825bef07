"""Stand-in roles: real child processes, through the product's own bootstrap, that do next to
nothing, so that what is tested is the process side alone.

A snapshot is JSON that tells them how to behave: `greeting` (shown to clients), `refuse` (a
reason), `die` ("prepare" or "commit"), `silent` (never answers prepare), `gate` (prepares until
that file exists, and makes another beside it), `linger` (drains until the deadline), `cut` (a front
ends the first channel to each worker when it is answered), `spin` (a front never comes back from
its first client). A front answers each client with one JSON line of facts and closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Before anything else of this process opens descriptors; the listing's own is gone by then.
INHERITED = sorted(
    f"{entry.name}={entry.readlink()}"
    for entry in list(Path("/proc/self/fd").iterdir())
    if entry.is_symlink()
)

from proxy.app.child import main  # noqa: E402
from proxy.app.messages import ListenerSocket  # noqa: E402
from proxy.app.role import FRONT, WORKER  # noqa: E402


class StandIn:
    """What both roles have in common."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.generation = 0
        self.snapshot: dict[str, Any] = {}
        self.prepared: dict[int, dict[str, Any]] = {}
        self.abandoned: list[int] = []
        self.served = 0
        self.reopened = 0

    def prepare(
        self, generation: int, snapshot: bytes, listeners: Sequence[ListenerSocket]
    ) -> None:
        loaded = json.loads(snapshot)
        if loaded.get("die") == "prepare":
            os.kill(os.getpid(), signal.SIGKILL)
        if loaded.get("silent"):
            time.sleep(600)
        if loaded.get("gate"):
            Path(loaded["gate"] + ".reached").touch()
        while loaded.get("gate") and not Path(loaded["gate"]).exists():
            time.sleep(0.01)
        if loaded.get("refuse"):
            raise ValueError(loaded["refuse"])
        self.prepared[generation] = loaded

    def commit(self, generation: int) -> None:
        self.snapshot = self.prepared.pop(generation)
        if self.snapshot.get("die") == "commit":
            raise RuntimeError("told to")
        self.generation = generation

    def abandon(self, generation: int) -> None:
        self.prepared.pop(generation, None)
        self.abandoned.append(generation)

    def metrics(self) -> dict[str, Any]:
        return {"vestibule_connections_total": [[["public"], self.served]]}

    def status(self) -> dict[str, Any]:
        return {"connections": self.served, "half_open": 0}

    async def drain(self, deadline_s: float) -> None:
        if self.snapshot.get("linger"):
            await asyncio.sleep(deadline_s)

    def reopen_logs(self) -> None:
        self.reopened += 1


class StandInWorker(StandIn):
    """Answers each front's greeting on its hand-off channel; knows of one backend."""

    def attach(
        self,
        peer_role: str,
        peer_slot: int,
        incarnation: int,
        descriptor: int,
        lost: Callable[[], None],
    ) -> None:
        channel = socket.socket(fileno=descriptor)

        def readable() -> None:
            try:
                message = channel.recv(100)
            except ConnectionResetError:  # the front died with our answer unread
                message = b""
            if message:
                channel.send(json.dumps([self.slot, os.getpid(), peer_role]).encode())
            else:
                asyncio.get_running_loop().remove_reader(channel.fileno())
                channel.close()

        asyncio.get_running_loop().add_reader(channel.fileno(), readable)

    def status(self) -> dict[str, Any]:
        healthy = {"https://one:443": {"healthy": True}, "https://two:443": {"healthy": False}}
        return {"connections": self.served, "backends": {"app": healthy}}


class StandInFront(StandIn):
    """Accepts, answers with facts, closes."""

    def __init__(self, slot: int) -> None:
        super().__init__(slot)
        self.incoming: dict[int, tuple[ListenerSocket, ...]] = {}
        self.listening: dict[int, socket.socket] = {}
        self.workers: dict[int, tuple[int, int]] = {}
        self.attached: list[int] = []

    def prepare(
        self, generation: int, snapshot: bytes, listeners: Sequence[ListenerSocket]
    ) -> None:
        self.incoming[generation] = tuple(listeners)
        super().prepare(generation, snapshot, listeners)

    def commit(self, generation: int) -> None:
        super().commit(generation)
        self.stop_listening()
        for item in self.incoming.pop(generation):
            listener = socket.socket(fileno=item.descriptor)
            self.listening[item.descriptor] = listener
            asyncio.get_running_loop().add_reader(item.descriptor, self.accept, listener, item)

    def abandon(self, generation: int) -> None:
        super().abandon(generation)
        for item in self.incoming.pop(generation, ()):
            os.close(item.descriptor)

    def stop_listening(self) -> None:
        for descriptor, listener in self.listening.items():
            asyncio.get_running_loop().remove_reader(descriptor)
            listener.close()
        self.listening.clear()

    def accept(self, listener: socket.socket, item: ListenerSocket) -> None:
        with contextlib.suppress(BlockingIOError):
            client, _ = listener.accept()
            self.served += 1
            facts = {
                "pid": os.getpid(),
                "slot": self.slot,
                "generation": self.generation,
                "greeting": self.snapshot.get("greeting"),
                "listener": item.name,
                "bind": item.bind,
                "workers": sorted(self.workers.values()),
                "attached": self.attached,
                "abandoned": self.abandoned,
                "reopened": self.reopened,
                "inherited": INHERITED,
                "environment": dict(os.environ),
            }
            with client:
                client.sendall(json.dumps(facts).encode() + b"\n")
            while self.snapshot.get("spin"):
                pass

    def attach(
        self,
        peer_role: str,
        peer_slot: int,
        incarnation: int,
        descriptor: int,
        lost: Callable[[], None],
    ) -> None:
        channel = socket.socket(fileno=descriptor)
        loop = asyncio.get_running_loop()
        self.attached.append(incarnation)

        def readable() -> None:
            try:
                message = channel.recv(1000)
            except ConnectionResetError:
                message = b""
            known = (self.snapshot, *self.prepared.values())
            cut = self.attached.count(incarnation) == 1 and any(one.get("cut") for one in known)
            if message and not cut:
                slot, pid, _ = json.loads(message)
                self.workers[incarnation] = (slot, pid)
            else:
                self.workers.pop(incarnation, None)
                loop.remove_reader(channel.fileno())
                channel.close()
                lost()

        loop.add_reader(channel.fileno(), readable)
        channel.send(b"hello")

    async def drain(self, deadline_s: float) -> None:
        self.stop_listening()
        await super().drain(deadline_s)


if __name__ == "__main__":
    sys.exit(main(roles={FRONT: StandInFront, WORKER: StandInWorker}))
