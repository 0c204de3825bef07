"""What each role gets of a configuration, as bytes.

Rules: a listener's certificate keys go to one role, the one that signs with them. That is the
front, unless the listener answers by retry: then its names and certificates go to the workers and
the front gets none of them. Routes, backends and authorities go to workers only. A snapshot is
complete: its receiver opens no file. The bytes hold secrets, so they travel only in what nobody
else can read (sealed memory).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from proxy.config.configuration import Configuration, NameSettings
from proxy.config.errors import key_path
from proxy.front import AnswerPolicy, FrontSettings, ListenerSettings, SourceSettings
from proxy.http import HttpSettings
from proxy.telemetry import LoggingSettings
from proxy.tls import Secret
from proxy.upstream import BackendSettings

_Snapshot = TypeVar("_Snapshot", "FrontSnapshot", "WorkerSnapshot")

# The engine's type for secrets knows no serialization, on purpose: it is written and read here.
_SECRET = "secret:base64"  # noqa: S105  a key of an object, not a secret

_CONFIG = ConfigDict(
    extra="forbid",
    arbitrary_types_allowed=True,
    ser_json_bytes="base64",
    val_json_bytes="base64",
)


class SnapshotError(Exception):
    """Bytes that are no snapshot of the role that reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSnapshot:
    """What a front process works with."""

    __pydantic_config__ = _CONFIG

    front: FrontSettings
    """Listeners, names, certificates and bounds; of a listener that answers by retry no name and
    no certificate."""
    logging: LoggingSettings
    """What is written where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryListener:
    """A listener whose front answers by retry alone: its workers sign."""

    index: int
    """Its place among the configuration's listeners, which comes with each of its clients."""
    listener: ListenerSettings
    """All of it, certificates with their keys included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSnapshot:
    """What a worker process works with."""

    __pydantic_config__ = _CONFIG

    retry: tuple[RetryListener, ...]
    """Listeners whose handshakes are finished here."""
    sources: SourceSettings
    """How many of their clients one source may have."""
    names: tuple[NameSettings, ...]
    """What to do with connections, by the index that comes with each of them."""
    backends: tuple[BackendSettings, ...]
    """Where to go, authorities included."""
    http: HttpSettings
    """How requests are passed on."""
    handshake_s: float
    """The longest that a client of any listener may be on its way: from accept to Finished, and
    waiting for a worker."""
    logging: LoggingSettings
    """What is written where."""


def front_snapshot(configuration: Configuration) -> bytes:
    """A front's part of the configuration. Holds the private keys that it signs with."""
    listeners = tuple(
        replace(one, server_names=()) if one.answer is AnswerPolicy.RETRY else one
        for one in configuration.front.listeners
    )
    snapshot = FrontSnapshot(
        front=replace(configuration.front, listeners=listeners), logging=configuration.logging
    )
    return _front().dump_json(snapshot, fallback=_written)


def worker_snapshot(configuration: Configuration) -> bytes:
    """A worker's part of the configuration. Holds the private keys that it signs with."""
    snapshot = WorkerSnapshot(
        retry=tuple(
            RetryListener(index=index, listener=one)
            for index, one in enumerate(configuration.front.listeners)
            if one.answer is AnswerPolicy.RETRY
        ),
        sources=configuration.front.sources,
        names=configuration.names,
        backends=configuration.backends,
        http=configuration.http,
        handshake_s=max(
            max(one.hello_timeout_s, one.handshake_timeout_s)
            for one in configuration.front.listeners
        )
        + configuration.front.handoff_timeout_s,
        logging=configuration.logging,
    )
    return _worker().dump_json(snapshot, fallback=_written)


def read_front_snapshot(data: bytes) -> FrontSnapshot:
    """The value that `front_snapshot` wrote. Raises SnapshotError."""
    return _read(_front(), data)


def read_worker_snapshot(data: bytes) -> WorkerSnapshot:
    """The value that `worker_snapshot` wrote. Raises SnapshotError."""
    return _read(_worker(), data)


@cache
def _front() -> TypeAdapter[FrontSnapshot]:
    return TypeAdapter(FrontSnapshot)


@cache
def _worker() -> TypeAdapter[WorkerSnapshot]:
    return TypeAdapter(WorkerSnapshot)


def _read(adapter: TypeAdapter[_Snapshot], data: bytes) -> _Snapshot:
    try:
        return adapter.validate_python(json.loads(data, object_hook=_revived))
    except ValidationError as error:
        # Its own text quotes the input, and that may be a key.
        details = error.errors(include_url=False, include_context=False, include_input=False)
        texts = [f"{key_path(detail['loc'])}: {detail['msg']}" for detail in details]
        raise SnapshotError("; ".join(texts)) from None
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"not a snapshot: {error}") from None


def _written(value: object) -> dict[str, str]:
    """What pydantic does not know how to write."""
    if isinstance(value, Secret):
        return {_SECRET: base64.b64encode(value.reveal()).decode("ascii")}
    raise TypeError(f"a {type(value).__name__} has no place in a snapshot")


def _revived(value: dict[str, Any]) -> dict[str, Any] | Secret:
    if value.keys() != {_SECRET}:
        return value
    return Secret(base64.b64decode(str(value[_SECRET]), validate=True))
