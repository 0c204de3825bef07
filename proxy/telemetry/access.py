"""One line per request, in JSON or in the combined format of nginx and Apache.

Owns the formats. Rules: it is on every request's way, so lines are built by hand, in one pass
over the request's fields; everything a peer has sent is escaped and bounded; writing is queueing.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Literal, Protocol

from proxy.telemetry.escaping import bounded, escaped_bytes
from proxy.telemetry.writer import LineWriter

__all__ = ["AccessLog", "AccessRecord", "ClientAddress", "TlsFacts"]

_TARGET_LIMIT = 4096
"""Bytes of a request target that are logged; longer ones are attacks or mistakes."""
_FIELD_LIMIT = 1024
"""Bytes of Host, Referer and User-Agent that are logged."""
_METHOD_LIMIT = 64

_WANTED = {b"host": 0, b"referer": 1, b"user-agent": 2}
_WANTED_LENGTHS = frozenset(map(len, _WANTED))


class ClientAddress(Protocol):
    """Where a request came from."""

    @property
    def address(self) -> str | None: ...


class AccessRecord(Protocol):
    """What is logged of a request. Bytes are the peer's."""

    @property
    def request_id(self) -> str: ...
    @property
    def client(self) -> ClientAddress: ...
    @property
    def method(self) -> bytes: ...
    @property
    def target(self) -> bytes: ...
    @property
    def minor_version(self) -> int: ...
    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def status(self) -> int: ...
    @property
    def request_bytes(self) -> int: ...
    @property
    def response_bytes(self) -> int: ...
    @property
    def duration_s(self) -> float: ...
    @property
    def backend(self) -> str | None: ...
    @property
    def server(self) -> object | None: ...
    @property
    def backend_time_s(self) -> float | None: ...
    @property
    def reason(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What is logged of the client's TLS connection."""

    version: str
    """As metrics name it: "1.3"."""
    suite: str
    """The IANA name."""
    server_name: str | None
    """The client's SNI."""


class AccessLog:
    """Writes a line per request; none at all before `configure`, or for the format `off`."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self.configure("off", None)

    def configure(
        self, form: Literal["json", "combined", "off"], writer: LineWriter | None
    ) -> None:
        """Write in this form, to this writer, from now on."""
        self._writer = writer if form != "off" else None
        self._line = _json_line if form == "json" else _combined_line
        self._clock = _JsonClock() if form == "json" else _CombinedClock()

    def write(self, record: AccessRecord, tls: TlsFacts | None = None) -> None:
        """Log a finished request; `tls` is None on a connection without TLS."""
        if self._writer is not None:
            stamp = self._clock.stamp(self._wall())
            self._writer.put(self._line(record, tls, stamp).encode("ascii", "backslashreplace"))


class _Clock(ABC):
    """Formats Unix time; the part that changes once a second is made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def stamp(self, now: float) -> str:
        second = int(now)
        if second != self._second:
            self._second, self._text = second, self.text(second)
        return self.finished(self._text, now - second)

    @abstractmethod
    def text(self, second: int) -> str:
        """What changes once a second."""

    def finished(self, text: str, fraction: float) -> str:
        return text


class _JsonClock(_Clock):
    def text(self, second: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))

    def finished(self, text: str, fraction: float) -> str:
        return f"{text}.{int(fraction * 1000):03d}Z"


class _CombinedClock(_Clock):
    _MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

    def text(self, second: int) -> str:
        # Not %b: month names are English whatever the locale is.
        parts = time.gmtime(second)
        month = self._MONTHS[parts.tm_mon - 1]
        return time.strftime(f"%d/{month}/%Y:%H:%M:%S +0000", parts)


def _asked(record: AccessRecord) -> list[bytes]:
    """Host, Referer, User-Agent; the first of each, empty where there is none."""
    found = [b"", b"", b""]
    for name, value in record.fields:
        if len(name) in _WANTED_LENGTHS:
            position = _WANTED.get(name.lower())
            if position is not None and not found[position]:
                found[position] = value
    return found


def _text(data: bytes, limit: int) -> str:
    """A peer's bytes as a JSON string; what is not UTF-8 is shown as `\\xNN`."""
    if len(data) > limit:
        return quoted(data[:limit].decode("utf-8", "backslashreplace") + "...")
    return quoted(data.decode("utf-8", "backslashreplace"))


@lru_cache(maxsize=1024)
def _name(text: str | None) -> str:
    return "null" if text is None else quoted(bounded(text, _FIELD_LIMIT))


def _json_line(record: AccessRecord, tls: TlsFacts | None, stamp: str) -> str:
    host, referer, agent = _asked(record)
    backend_time = record.backend_time_s
    server = None if record.server is None else str(record.server)
    line = (
        f'{{"timestamp":"{stamp}","request_id":{quoted(record.request_id)}'
        f',"client":{_name(record.client.address)}'
        f',"method":{_text(record.method, _METHOD_LIMIT)}'
        f',"target":{_text(record.target, _TARGET_LIMIT)}'
        f',"host":{_text(host, _FIELD_LIMIT)}'
        f',"protocol":"HTTP/1.{record.minor_version}","status":{record.status}'
        f',"request_bytes":{record.request_bytes},"response_bytes":{record.response_bytes}'
        f',"duration_s":{record.duration_s:.6f}'
        f',"backend":{_name(record.backend)},"server":{_name(server)}'
        f',"backend_time_s":{"null" if backend_time is None else f"{backend_time:.6f}"}'
        f',"reason":{_name(record.reason)}'
        f',"referer":{_text(referer, _FIELD_LIMIT)},"user_agent":{_text(agent, _FIELD_LIMIT)}'
    )
    if tls is not None:
        line += (
            f',"tls_version":{quoted(tls.version)},"tls_suite":{quoted(tls.suite)}'
            f',"tls_server_name":{_name(tls.server_name)}'
        )
    return line + "}\n"


def _combined_line(record: AccessRecord, _: TlsFacts | None, stamp: str) -> str:
    referer, agent = _asked(record)[1:]
    method = escaped_bytes(record.method, _METHOD_LIMIT)
    target = escaped_bytes(record.target, _TARGET_LIMIT)
    request = f"{method} {target} HTTP/1.{record.minor_version}" if method else "-"
    return (
        f"{record.client.address or 'unix:'} - - [{stamp}] "
        f'"{request}" {record.status} {record.response_bytes} '
        f'"{escaped_bytes(referer, _FIELD_LIMIT) or "-"}" '
        f'"{escaped_bytes(agent, _FIELD_LIMIT) or "-"}"\n'
    )
