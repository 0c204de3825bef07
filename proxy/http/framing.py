"""Where a body ends: RFC 9112, sections 6 and 7, as a small value that can be exported.

Rules: a framing is frozen; `advance(data)` consumes bytes and returns the payload in them, the
framing that follows and what lies behind the end of the body. Nothing is buffered but an
unfinished line, which is bounded. A chunked body is read strictly: a lenient reader and a strict
one behind it would disagree on where the next request starts, and that is request smuggling.
Trailers are checked, bounded and dropped (RFC 9110, section 6.5.1, allows an intermediary that),
and chunk extensions are too: they are hop-by-hop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, NamedTuple, TypeAlias

from proxy.http.errors import FramingError

#: Longest Content-Length in digits: below 2**63, so it fits every backend's signed integer.
LENGTH_DIGITS: Final = 18
#: Chunk size and extensions: AWS's signed chunks need 85 bytes.
CHUNK_LINE_LIMIT: Final = 256
#: All trailer lines of one body together.
TRAILER_LIMIT: Final = 8 * 1024

#: What ends a chunked body when there are no trailers.
LAST_CHUNK: Final = b"0\r\n\r\n"

# RFC 9112, section 7.1: chunk-size [ chunk-ext ]. 15 digits stay below 2**60.
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_PLAIN_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
# RFC 9110, section 5.1 and 5.5; a line that starts with a space (obs-fold) is no field line.
_TRAILER_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_LINE_OCTETS: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\r?")


Bytes: TypeAlias = bytes | memoryview
"""A view is of a buffer that is used again."""


class Taken(NamedTuple):
    """What one `advance` found; parts of what it was given where that needs no copy."""

    payload: Bytes
    framing: Framing
    leftover: Bytes


@dataclass(frozen=True, slots=True)
class NoBody:
    """No byte of the body is left, or there never was one."""

    complete: ClassVar[bool] = True

    def advance(self, data: Bytes) -> Taken:
        return Taken(b"", self, data)

    def end(self) -> None:
        """The peer closed where it may."""


COMPLETE: Final = NoBody()


@dataclass(frozen=True, slots=True)
class Length:
    """`remaining` bytes are still to come; never zero."""

    remaining: int
    complete: ClassVar[bool] = False

    def advance(self, data: Bytes) -> Taken:
        size = len(data)
        if size < self.remaining:
            return Taken(data, Length(self.remaining - size), b"")
        if size == self.remaining:
            return Taken(data, COMPLETE, b"")
        return Taken(data[: self.remaining], COMPLETE, data[self.remaining :])

    def end(self) -> None:
        # RFC 9112, section 8: fewer bytes than promised is an incomplete message.
        raise FramingError("body_truncated")


@dataclass(frozen=True, slots=True)
class UntilClose:
    """A response without length: it ends when the backend closes (RFC 9112, 6.3, rule 8)."""

    complete: ClassVar[bool] = False

    def advance(self, data: Bytes) -> Taken:
        return Taken(data, self, b"")

    def end(self) -> None:
        """The close is the end; the session has already refused a truncated TLS stream."""


class ChunkPhase(Enum):
    """What a chunked body waits for."""

    SIZE = "size"
    DATA = "data"
    DATA_END = "data_end"
    TRAILER = "trailer"


@dataclass(frozen=True, slots=True)
class Chunked:
    """A chunked body's position. `partial` is the start of an unfinished line."""

    phase: ChunkPhase = ChunkPhase.SIZE
    remaining: int = 0
    partial: bytes = b""
    trailer_bytes: int = 0
    complete: ClassVar[bool] = False

    def advance(self, data: Bytes) -> Taken:
        """Raises FramingError where the bytes leave the grammar of RFC 9112, section 7.1."""
        buffer = self.partial + data if self.partial else bytes(data)
        phase, remaining, trailer_bytes = self.phase, self.remaining, self.trailer_bytes
        payload: list[bytes] = []
        position, size = 0, len(buffer)
        while position < size:
            if phase is ChunkPhase.SIZE:
                position = _whole_chunks(buffer, position, payload)
            if phase is ChunkPhase.DATA:
                piece = buffer[position : position + remaining]
                payload.append(piece)
                position += len(piece)
                remaining -= len(piece)
                if not remaining:
                    phase = ChunkPhase.DATA_END
                continue
            line, after = _line(buffer, position, _limit(phase, trailer_bytes))
            if line is None:
                break
            position = after
            if phase is ChunkPhase.SIZE:
                remaining = _chunk_size(line)
                phase = ChunkPhase.DATA if remaining else ChunkPhase.TRAILER
            elif phase is ChunkPhase.DATA_END:
                phase = ChunkPhase.SIZE
            elif line:
                trailer_bytes += _trailer(line)
            else:
                return Taken(b"".join(payload), COMPLETE, buffer[position:])
        rest = Chunked(phase, remaining, buffer[position:], trailer_bytes)
        return Taken(b"".join(payload), rest, b"")

    def end(self) -> None:
        # RFC 9112, section 8: a chunked body without its last chunk is incomplete.
        raise FramingError("body_truncated")


Framing: TypeAlias = NoBody | Length | Chunked | UntilClose


def encode_chunk(payload: Bytes) -> bytes:
    """One chunk; `payload` must not be empty, since an empty chunk ends the body."""
    return b"".join((b"%x\r\n" % len(payload), payload, b"\r\n"))


def encode(payload: Bytes, *, chunked: bool, last: bool) -> Bytes:
    """`payload` as it is sent on: as one chunk or bare, with the end of the body if `last`."""
    if not chunked:
        return payload
    if not payload:
        return LAST_CHUNK if last else b""
    return encode_chunk(payload) + LAST_CHUNK if last else encode_chunk(payload)


def body_length(values: list[bytes]) -> int | None:
    """The one Content-Length. FramingError unless it is a single plain number.

    RFC 9112, 6.3, rule 5: an invalid length is unrecoverable. The list of equal values that it
    lets a recipient accept ("5, 5") is refused too: nobody sends it in good faith.
    """
    if not values:
        return None
    value = values[0]
    if len(values) > 1:
        raise FramingError("repeated_content_length")
    if not value.isdigit() or len(value) > LENGTH_DIGITS:
        raise FramingError("bad_content_length")
    return int(value)


def body_chunked(values: list[bytes], *, minor_version: int, has_length: bool) -> bool:
    """Whether the body is chunked. FramingError for any other or doubtful transfer coding."""
    if not values:
        return False
    # RFC 9112, section 6.1: in HTTP/1.0 the framing is faulty, whatever the field says.
    if minor_version == 0:
        raise FramingError("transfer_encoding_in_http_1_0")
    # RFC 9112, 6.3, rule 3: both together ought to be handled as an error.
    if has_length:
        raise FramingError("content_length_and_transfer_encoding")
    # RFC 9112, 6.3, rule 4, and section 7: coding names are case-insensitive. This proxy asks for
    # no other coding (it sends no TE) and understands no other.
    if len(values) > 1:
        raise FramingError("repeated_transfer_encoding")
    if values[0].lower() == b"chunked":
        return True
    codings = [coding.strip(b" \t").lower() for coding in values[0].split(b",")]
    if codings[-1] != b"chunked" or codings.count(b"chunked") > 1 or b"" in codings:
        raise FramingError("bad_transfer_encoding")
    raise FramingError("unknown_transfer_coding")


def request_framing(content_length: int | None, chunked: bool) -> Framing:
    """RFC 9112, 6.3, rules 4, 6 and 7, for a request."""
    if chunked:
        return Chunked()
    return Length(content_length) if content_length else COMPLETE


def response_framing(
    status: int, content_length: int | None, chunked: bool, *, to_head: bool
) -> Framing:
    """RFC 9112, 6.3, rules 1, 4, 6 and 8; rule 2 (CONNECT) does not occur here."""
    if to_head or status in (204, 304) or status < 200:
        return COMPLETE
    if chunked:
        return Chunked()
    if content_length is None:
        return UntilClose()
    return Length(content_length) if content_length else COMPLETE


def _whole_chunks(buffer: bytes, position: int, payload: list[bytes]) -> int:
    """Take chunks that are whole and plain; where the rest begins.

    A body of one-byte chunks costs a third of what it does line by line.
    """
    while (match := _PLAIN_SIZE.match(buffer, position)) is not None:
        start = match.end()
        end = start + int(match[1], 16)
        if start == end or buffer[end : end + 2] != b"\r\n":
            break
        payload.append(buffer[start:end])
        position = end + 2
    return position


def _limit(phase: ChunkPhase, trailer_bytes: int) -> int:
    if phase is ChunkPhase.SIZE:
        return CHUNK_LINE_LIMIT
    return TRAILER_LIMIT - trailer_bytes if phase is ChunkPhase.TRAILER else 0


def _line(buffer: bytes, start: int, limit: int) -> tuple[bytes | None, int]:
    """The line at `start` without its CRLF and where the next one starts; None: not whole yet."""
    end = buffer.find(b"\r\n", start, start + limit + 2)
    if end >= 0:
        return buffer[start:end], end + 2
    rest = buffer[start : start + limit + 2]
    # A bare LF or CR is refused before more is awaited: the peer may think the line has ended.
    if not _LINE_OCTETS.fullmatch(rest):
        raise FramingError("bad_chunk_line")
    if len(rest) - rest.endswith(b"\r") > limit:
        raise FramingError("chunk_line_too_long")
    return None, start


def _chunk_size(line: bytes) -> int:
    match = _CHUNK_LINE.fullmatch(line)
    if match is None:
        raise FramingError("bad_chunk_size")
    return int(match[1], 16)


def _trailer(line: bytes) -> int:
    if not _TRAILER_LINE.fullmatch(line):
        raise FramingError("bad_trailer")
    return len(line) + 2
