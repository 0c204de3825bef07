"""What the supervisor and a child say to each other, and its form on the control socket.

Owns the message types and their encoding: one JSON object per SEQPACKET datagram, descriptors
beside it by SCM_RIGHTS. Rules: a snapshot travels only as a sealed memory file; an object too large
for a datagram does too; descriptors in a decoded message belong to its receiver; anything that is
not exactly one of these messages raises ControlError, because a child may run under another uid
and must not be able to upset the supervisor.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from proxy.handoff import ChannelError, close_all, read_sealed, sealed

__all__ = [
    "MAX_DATAGRAM_BYTES",
    "MAX_DESCRIPTORS",
    "MAX_MEMORY_BYTES",
    "Abandon",
    "Attach",
    "Commit",
    "Committed",
    "ControlError",
    "Drain",
    "Drained",
    "ListenerSocket",
    "Lost",
    "Message",
    "Packet",
    "Prepare",
    "Prepared",
    "Query",
    "Refused",
    "ReopenLogs",
    "Snapshot",
    "Started",
    "decode",
    "encode",
]

MAX_DATAGRAM_BYTES = 48 * 1024
"""Larger objects are spilled to a memory file: far below the default send buffer of 208 KiB."""

MAX_MEMORY_BYTES = 64 * 1024 * 1024
"""Largest memory file: thousands of certificates fit; a runaway writer does not."""

MAX_DESCRIPTORS = 250
"""Descriptors in one message: the kernel's SCM_MAX_FD is 253."""


class ControlError(Exception):
    """The other end of a control socket sent what is not a message."""


class ListenerSocket(NamedTuple):
    """One listening socket of one front."""

    name: str
    """The listener's name in the configuration."""
    bind: str
    """The bind address as configured, e.g. `[::]:8443` or `unix:/run/vestibule/public.sock`."""
    descriptor: int
    """The listening socket, owned by whoever holds this value."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Load this generation beside the one that serves. Answered by Prepared or Refused."""

    generation: int
    snapshot: bytes = field(repr=False)
    listeners: tuple[ListenerSocket, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """Serve the prepared generation from now on. Answered by Committed."""

    generation: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Forget the prepared generation; it may have been refused elsewhere or never arrived here."""

    generation: int


@dataclass(frozen=True, slots=True)
class Attach:
    """One end of a hand-off socketpair to a peer process; a later incarnation replaces it."""

    peer_role: str
    peer_slot: int
    incarnation: int
    descriptor: int


@dataclass(frozen=True, slots=True)
class Query:
    """Asks for a Snapshot of the same number and kind: `metrics`, `status`, or `alive`, which is
    answered by nothing but the answer."""

    number: int
    kind: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Take nothing new, finish what is there within the deadline, say Drained, exit."""

    deadline_s: float


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """Log files were rotated: open them again by name."""


@dataclass(frozen=True, slots=True)
class Started:
    """The child's loop runs and it can prepare."""

    pid: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The generation is loaded and can be committed without failing."""

    generation: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The generation cannot be served here."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Committed:
    """New connections are served by this generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A front's hand-off channel to this worker has ended. If both live on, they get another."""

    peer_slot: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Numbers or facts of a child. Number 0: unasked, the last metrics before it exits."""

    number: int
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing is left; the child exits now."""


Message: TypeAlias = (
    Prepare
    | Commit
    | Abandon
    | Attach
    | Query
    | Drain
    | ReopenLogs
    | Started
    | Prepared
    | Refused
    | Committed
    | Lost
    | Snapshot
    | Drained
)

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(Prepare, Commit, Abandon, Attach, Query, Drain, ReopenLogs),
        *(Started, Prepared, Refused, Committed, Lost, Snapshot, Drained),
    )
}

_FORMS: dict[str, type[Any] | tuple[type[Any], ...]] = {
    "int": int,
    "str": str,
    "float": (int, float),
    "dict[str, Any]": dict,
}
"""Field annotations of messages that travel as plain JSON, and what JSON may hold for them."""

_SPILLED = "Spilled"
"""The type of the datagram that stands for an object in a memory file."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One datagram: its bytes, and the descriptors that go with it."""

    payload: bytes
    descriptors: tuple[int, ...] = ()
    owned: tuple[int, ...] = ()
    """Those made for this packet, to be closed once it is sent; the others stay the sender's."""


def encode(message: Message) -> Packet:
    """Return the packet for a message. Raises ControlError when it cannot be carried."""
    passed: tuple[int, ...] = ()
    owned: tuple[int, ...] = ()
    body: dict[str, Any]
    match message:
        case Prepare(generation, snapshot, listeners):
            if len(listeners) >= MAX_DESCRIPTORS:
                raise ControlError(f"{len(listeners)} listening sockets in one front")
            names = [item[:2] for item in listeners]
            body = {"generation": generation, "bytes": len(snapshot), "listeners": names}
            passed = tuple(item.descriptor for item in listeners)
            owned = (_in_memory(snapshot),)
        case Attach(peer_role, peer_slot, incarnation, descriptor):
            body = {"peer_role": peer_role, "peer_slot": peer_slot, "incarnation": incarnation}
            passed = (descriptor,)
        case _:
            body = {item.name: getattr(message, item.name) for item in dataclasses.fields(message)}
    body["type"] = type(message).__name__
    payload = json.dumps(body).encode()
    if len(payload) > MAX_DATAGRAM_BYTES:
        owned = (_in_memory(payload), *owned)
        payload = json.dumps({"type": _SPILLED, "bytes": len(payload)}).encode()
    return Packet(payload, (*owned, *passed), owned)


def decode(payload: bytes, descriptors: Sequence[int]) -> Message:
    """Return the message of a packet; on ControlError the descriptors have been closed."""
    try:
        return _decode(payload, list(descriptors))
    except ControlError:
        close_all(descriptors)
        raise
    except (ValueError, TypeError, ChannelError, RecursionError) as error:
        close_all(descriptors)
        raise ControlError(f"unreadable message: {error}") from error


def _decode(payload: bytes, descriptors: list[int]) -> Message:
    body = _object(payload)
    if body.get("type") == _SPILLED:
        body = _object(_taken(body, descriptors))
    kind = _KINDS.get(str(body.pop("type", None)))
    if kind is None:
        raise ControlError("unknown message")
    message: Message
    if kind is Prepare:
        message = _prepare(body, descriptors)
    elif kind is Attach:
        message = _attach(body, descriptors)
    else:
        message = kind(**_checked(kind, body))
    if descriptors:
        raise ControlError(f"{kind.__name__} with {len(descriptors)} descriptors too many")
    return message


def _prepare(body: Mapping[str, Any], descriptors: list[int]) -> Prepare:
    names = body.get("listeners")
    generation = _integer(body, "generation")
    snapshot = _taken(body, descriptors)
    if not isinstance(names, list) or len(names) != len(descriptors):
        raise ControlError("Prepare whose listeners are not its descriptors")
    listeners = tuple(
        ListenerSocket(str(name), str(bind), descriptor)
        for (name, bind), descriptor in zip(names, descriptors, strict=True)
    )
    descriptors.clear()
    return Prepare(generation, snapshot, listeners)


def _attach(body: Mapping[str, Any], descriptors: list[int]) -> Attach:
    role = body.get("peer_role")
    if not isinstance(role, str) or len(descriptors) != 1:
        raise ControlError("Attach without a role or its descriptor")
    slot, incarnation = _integer(body, "peer_slot"), _integer(body, "incarnation")
    return Attach(role, slot, incarnation, descriptors.pop())


def _checked(kind: type[Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
    expected = {item.name: _FORMS[str(item.type)] for item in dataclasses.fields(kind)}
    if body.keys() != expected.keys():
        raise ControlError(f"{kind.__name__} with fields {sorted(body)}")
    for name, form in expected.items():
        if not isinstance(body[name], form) or isinstance(body[name], bool):
            raise ControlError(f"{kind.__name__}.{name} is a {type(body[name]).__name__}")
    return body


def _integer(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ControlError(f"{name} is not a number")
    return value


def _object(payload: bytes) -> dict[str, Any]:
    body = json.loads(payload)
    if not isinstance(body, dict):
        raise ControlError("not an object")
    return body


def _in_memory(data: bytes) -> int:
    if len(data) > MAX_MEMORY_BYTES:
        raise ControlError(f"{len(data)} bytes, at most {MAX_MEMORY_BYTES}")
    return sealed(data)


def _taken(body: Mapping[str, Any], descriptors: list[int]) -> bytes:
    """Read and close the first descriptor: the memory file of a message."""
    size = _integer(body, "bytes")
    if not descriptors or not 0 <= size <= MAX_MEMORY_BYTES:
        raise ControlError(f"a memory file of {size} bytes is missing")
    data = read_sealed(descriptors[0], size)
    close_all([descriptors.pop(0)])
    return data
