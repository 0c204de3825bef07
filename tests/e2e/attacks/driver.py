"""Carries attacks out, one at a time, in a process of its own.

    python -m tests.e2e.attacks.driver

Reads commands as JSON lines and answers each by the counts of the attack under way:

    {"begin": NAME, "port": PORT, "connections": N, "per_s": M}   null: as the attack has it
    {"counts": true}
    {"end": true}                                                 all connections are closed

Standard input's end is the process's. Rules: loopback only; it runs at lower priority than its
victims, so that only the server delays them.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from tests.e2e.attacks.attackers import ATTACKS, LEAVE, Attack, Attacker, Established
from tests.e2e.deployment import LIMIT_S
from tests.e2e.faults.steps import StepClient

__all__ = ["Counts", "Driver"]

_NICE = 10
_RESET = struct.pack("ii", 1, 0)
_IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); the socket module does not name it
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_OPENED_AT_ONCE = 64
_READ_BYTES = 65536
_PACE_S = 0.05


@dataclass(slots=True)
class Counts:
    """What became of an attack's connections."""

    opened: int = 0
    failed: int = 0
    """Could not be opened."""
    left: int = 0
    """The attacker had what it wanted."""
    ended: int = 0
    """The server closed it."""
    sent_bytes: int = 0
    seconds: float = 0.0


class Driver:
    """Such a process; `with` bounds its life."""

    def __init__(self, *before: str) -> None:
        """`before` is put in front of the command."""
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", "tests.e2e.attacks.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(
        self, name: str, port: int, *, connections: int | None = None, per_s: float | None = None
    ) -> None:
        """Attack this port by `connections` instead of the attack's own number, of which at most
        `per_s` come in a second."""
        self._ask(begin=name, port=port, connections=connections, per_s=per_s)

    def counts(self) -> Counts:
        """Of the attack so far."""
        return self._ask(counts=True)

    def end(self) -> Counts:
        """Close all connections and stop."""
        return self._ask(end=True)

    def _ask(self, **command: Any) -> Counts:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return Counts(**json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=LIMIT_S)


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    attacker: Attacker
    unsent: bytes = b""
    connected: bool = False


class _Assault:
    """One attack on one port."""

    def __init__(self, attack: Attack, port: int, per_s: float | None, epoll: select.epoll) -> None:
        self._attack = attack
        self._port = port
        self._per_s = per_s
        self._epoll = epoll
        self._connections: dict[int, _Connection] = {}
        self._ticked_s = self._began_s = time.monotonic()
        self.counts = Counts()

    def fill(self) -> None:
        """Replace who went."""
        missing = self._attack.connections - len(self._connections)
        if self._per_s is not None:
            due = int(self._per_s * (time.monotonic() - self._began_s))
            missing = min(missing, due - self.counts.opened)
        for _ in range(min(missing, _OPENED_AT_ONCE)):
            if not self._open():
                break

    def turn(self, descriptor: int, mask: int) -> None:
        """One event of a connection."""
        connection = self._connections[descriptor]
        try:
            if not connection.connected:
                connection.connected = True
                self._next(connection, connection.attacker.connected())
                return
            if mask & ~_OUT:
                data = connection.socket.recv(_READ_BYTES)
                if not data:
                    raise ConnectionResetError("by the server")
                self._next(connection, connection.attacker.received(data))
            if mask & _OUT and descriptor in self._connections:
                self._next(connection, b"" if connection.unsent else connection.attacker.sent())
        except BlockingIOError:
            return
        except OSError:
            self.counts.ended += 1
            self._close(connection)

    def tick(self, now: float) -> float | None:
        """Tell all that time has passed; seconds until something is due."""
        pause_s = self._attack.tick_s
        if pause_s is None:
            return None if self._per_s is None else _PACE_S
        if now - self._ticked_s >= pause_s:
            self._ticked_s = now
            for connection in list(self._connections.values()):
                if connection.connected:
                    try:
                        self._next(connection, connection.attacker.tick())
                    except OSError:
                        continue  # its event tells
        return self._ticked_s + pause_s - now

    def close(self) -> None:
        """All of it."""
        for connection in list(self._connections.values()):
            self._close(connection)

    def snapshot(self) -> Counts:
        """So far."""
        return replace(self.counts, seconds=round(time.monotonic() - self._began_s, 3))

    def _open(self) -> bool:
        source = self._attack.sources[self.counts.opened % len(self._attack.sources)]
        attacker = self._attack.attacker()
        try:
            if isinstance(attacker, Established):
                connection = self._established(attacker, source)
            else:
                connection = self._connecting(attacker, source)
        except OSError:
            self.counts.failed += 1
            return False
        self.counts.opened += 1
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket.fileno(), _IN | _OUT)
        return True

    def _connecting(self, attacker: Attacker, source: str) -> _Connection:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        client.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._attack.reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.bind((source, 0))
        try:
            client.connect(("127.0.0.1", self._port))
        except BlockingIOError:
            pass
        except OSError:
            client.close()
            raise
        return _Connection(client, attacker)

    def _established(self, attacker: Established, source: str) -> _Connection:
        client = StepClient(self._port, source=source)
        try:
            client.greet().reply(attacker.request)
        except BaseException:
            client.close()
            raise
        client.socket.setblocking(False)
        attacker.establish(client.tls)
        return _Connection(client.socket, attacker)

    def _next(self, connection: _Connection, data: bytes | None) -> None:
        """Do what the attacker wants. Raises OSError."""
        if data is LEAVE:
            self.counts.left += 1
            self._close(connection)
            return
        unsent = connection.unsent + data
        if unsent:
            try:
                size = connection.socket.send(unsent)
            except BlockingIOError:
                size = 0
            self.counts.sent_bytes += size
            unsent = unsent[size:]
        connection.unsent = unsent
        wants = _IN | _OUT if unsent or isinstance(connection.attacker, Established) else _IN
        self._epoll.modify(connection.socket.fileno(), wants)

    def _close(self, connection: _Connection) -> None:
        descriptor = connection.socket.fileno()
        del self._connections[descriptor]
        self._epoll.unregister(descriptor)
        connection.socket.close()


class _Commands:
    """Standard input, and the assault that it asked for."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._stdin = sys.stdin.fileno()
        self._epoll.register(self._stdin, _IN)
        self._assault: _Assault | None = None

    def run(self) -> None:
        """Until the input ends."""
        while True:
            assault, pause_s = self._assault, None
            if assault is not None:
                assault.fill()
                pause_s = assault.tick(time.monotonic())
            for descriptor, mask in self._epoll.poll(pause_s):
                if descriptor == self._stdin:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    self._obey(json.loads(line))
                    break  # the rest of these events may be of connections that are gone
                if assault is not None:
                    assault.turn(descriptor, mask)

    def _obey(self, command: dict[str, Any]) -> None:
        if "begin" in command:
            attack = ATTACKS[command["begin"]]
            attack = replace(attack, connections=command["connections"] or attack.connections)
            self._assault = _Assault(attack, command["port"], command["per_s"], self._epoll)
        counts = self._assault.snapshot() if self._assault is not None else Counts()
        if "end" in command and self._assault is not None:
            self._assault.close()
            self._assault = None
        print(json.dumps(asdict(counts)), flush=True)  # noqa: T201


def _main() -> None:
    os.nice(_NICE)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _Commands().run()


if __name__ == "__main__":
    _main()
