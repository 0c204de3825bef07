"""Makes chosen functions of a proxy raise for chosen clients: what a bug of ours would do.

A proxy under test gets a directory with a `sitecustomize.py` on its PYTHONPATH, which calls
`install` in every process. A client is chosen by the address that it comes from, 127.0.13.N for the
N-th of the targets, and for what does not know a client's address by the name that it asks for.
"""

from __future__ import annotations

import functools
import importlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["ALL", "Injected", "install", "name_for", "source_of", "write_sitecustomize"]

TARGETS = {
    # The front's events, its steps, and what it calls with a client in hand.
    "front": (
        "proxy.front.handshakes:Handshakes.admit",
        "proxy.front.handshakes:Handshakes._welcome",
        "proxy.front.handshakes:Handshakes._readable",
        "proxy.front.handshakes:Handshakes._first_hello",
        "proxy.front.handshakes:Handshakes._reply",
        "proxy.front.handshakes:Handshakes._lend",
        "proxy.front.endings:Endings.refuse",
        "proxy.front.outgoing:Outgoing.send",
        "proxy.front.offers:Offers.offer",
        "proxy.front.five_tuple:FiveTuples.of",
        "proxy.front.answerer:Answerer.first_hello",
        "proxy.front.answerer:Answerer.reply",
        "proxy.front.answerer:Answerer.refuse",
        "proxy.handoff.dispatcher:Dispatcher.offer",
    ),
    # The worker's, from the arrival of a connection to its end.
    "worker": (
        "proxy.serve.intake:decode_capsule",
        "proxy.app.worker_role:WorkerRole._check",
        "proxy.app.worker_role:WorkerRole._serve",
        "proxy.app.worker_role:WorkerRole._serve_connection",
        "proxy.app.worker_role:_facts",
        "proxy.edge.receiver:Receiver._decode",
        "proxy.edge.stream:Stream.write",
        "proxy.http.connection:HttpConnection.run",
        "proxy.http.connection:HttpConnection._serve_one",
        "proxy.http.connection:HttpConnection._read_head",
        "proxy.http.exchange:Exchange.run",
        "proxy.http.exchange:Exchange._route",
        "proxy.http.exchange:Exchange._connect",
        "proxy.http.exchange:Exchange._attempt",
        "proxy.http.exchange:Exchange._respond",
        "proxy.http.exchange:Exchange._relay",
    ),
}

ALL = (*TARGETS["front"], *TARGETS["worker"])

_NETWORK = "127.0.13."
_INSIDE = ("descriptor", "_socket", "_client", "client", "stream", "context", "server_name")
"""Where the objects that handlers get keep what leads to a socket or a name."""


class Injected(Exception):
    """What a chosen function raises."""


def source_of(target: str) -> str:
    """The address of a client for which this target raises."""
    return f"{_NETWORK}{ALL.index(target) + 1}"


def name_for(target: str) -> str:
    """The server name that such a client asks for."""
    return f"{source_of(target)}.injected"


def write_sitecustomize(directory: Path) -> dict[str, str]:
    """Make the directory for PYTHONPATH; the environment for a proxy."""
    (directory / "sitecustomize.py").write_text(
        "from tests.e2e.injection import install\n\ninstall()\n"
    )
    root = Path(__file__).resolve().parents[2]
    return {"PYTHONPATH": f"{directory}:{root}"}


def install() -> None:
    """Patch this process, if it is one of a proxy's fronts or workers."""
    words = Path("/proc/self/cmdline").read_bytes().decode().split("\0")
    if "proxy.app.child" not in words:
        return
    role = words[words.index("proxy.app.child") + 1]
    for target in TARGETS[role]:
        module, _, path = target.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for each in outer:
            owner = getattr(owner, each)
        setattr(owner, name, _raising(getattr(owner, name), target))


def _raising(original: Callable[..., Any], target: str) -> Callable[..., Any]:
    mark = _Mark(source_of(target))

    @functools.wraps(original)
    def chosen(*arguments: Any) -> Any:
        if any(mark.is_on(argument) for argument in arguments):
            raise Injected(target)
        return original(*arguments)

    return chosen


class _Mark:
    """Recognises a chosen client in what a handler is called with."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._packed = socket.inet_aton(source)
        self._name = f"{source}.injected"

    def is_on(self, value: Any, depth: int = 3) -> bool:
        """Whether a descriptor, a packed 5-tuple, a capsule, or what holds one is that client's."""
        if isinstance(value, bytes):
            return value[1:5] == self._packed or self._name.encode() in value
        if isinstance(value, str):
            return value == self._name
        if isinstance(value, int):
            return self._is_at(value)
        if isinstance(value, socket.SocketType):
            return self._is_at(value.fileno())
        if not depth:
            return False
        return any(self.is_on(getattr(value, name, None), depth - 1) for name in _INSIDE)

    def _is_at(self, descriptor: int) -> bool:
        try:
            connection = socket.socket(fileno=descriptor)
        except OSError:
            return False
        try:
            peer = connection.getpeername()
        except OSError:
            return False
        finally:
            connection.detach()
        return isinstance(peer, tuple) and peer[0] == self._source
