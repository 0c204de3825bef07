"""Request and response heads: from the bytes of one head to the facts a proxy needs.

A head is found here, its start line is read here, and its facts are checked here: one Host, one
framing, a target that means one thing (RFC 9112, sections 3 and 6.3). `plain` has the fields that
nothing here reads; they are sent on unless Connection names them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import httptools

from proxy.http.errors import FramingError, HttpError, RequestRefused, ResponseRefused
from proxy.http.field_lines import (
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    EXPECT,
    FORWARDING,
    HOST,
    PLAIN,
    REQUEST_ID,
    REQUEST_KINDS,
    RESPONSE_KINDS,
    TRANSFER_ENCODING,
    UPGRADE,
    Field,
    Tokens,
    field_lines,
    imitates,
    joined,
    sort_fields,
    tokens,
    values,
)
from proxy.http.framing import body_chunked, body_length
from proxy.http.target import Target, host_name, parse_target

_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VERSION: Final = re.compile(rb"HTTP/\d\.\d")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?")
# What a request line may hold before its CRLF has come.
_LINE_START: Final = re.compile(rb"[\x20-\x7e]*\r?")

# Clients ask the same again, and so do others like them: equal bytes mean the same, and to look
# them up costs a tenth of reading them. Bounded in number and in size: some 2 MB at most.
_REMEMBERED: Final = 256
_REMEMBERED_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class RequestHead:
    """One request's head. `fields` is as on the wire, the rest is what was understood from it."""

    method: bytes
    target: bytes
    """As on the wire."""
    form: bytes
    """The target that is forwarded: origin-form or `*`."""
    minor_version: int
    authority: bytes | None
    """Host and port in effect; None only in HTTP/1.0."""
    host: bytes | None
    """The authority's host, lower case."""
    content_length: int | None
    chunked: bool
    connection: Tokens
    """Connection options, lower case."""
    upgrade: bytes | None
    expect_continue: bool
    request_id: bytes | None
    forwarding: tuple[Field, ...]
    """Forwarded, X-Forwarded-* and the like, as the client sent them."""
    plain: tuple[Field, ...]
    fields: tuple[Field, ...]

    @property
    def keep_alive(self) -> bool:
        """Whether the client allows another request. RFC 9112, section 9.3."""
        if b"close" in self.connection:
            return False
        return self.minor_version == 1 or b"keep-alive" in self.connection


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """One response's head, interim or final."""

    status: int
    reason: bytes
    minor_version: int
    content_length: int | None
    chunked: bool
    connection: Tokens
    upgrade: bytes | None
    dated: bool
    plain: tuple[Field, ...]
    fields: tuple[Field, ...]

    @property
    def keep_alive(self) -> bool:
        """Whether the backend allows another request. RFC 9112, section 9.3."""
        if b"close" in self.connection:
            return False
        return self.minor_version == 1 or b"keep-alive" in self.connection


def head_end(data: bytes, searched: int = 0) -> int:
    """Where the head at the start of `data` ends, its empty line included; -1: not whole yet.

    `searched` bytes were looked at before. Raises HttpError for what can no longer become a head.
    """
    start = max(0, searched - 3)
    end = data.find(b"\r\n\r\n", start)
    if end >= 0:
        return end + 4
    # RFC 9112, section 2.2, lets a recipient take a bare LF for a line end; this one must not
    # wait for more from a peer that believes its head to be finished.
    if data.find(b"\n\n", start) >= 0 or data.find(b"\n\r\n", start) >= 0:
        raise HttpError("bare_line_feed")
    return -1


def check_request_start(data: bytes) -> None:
    """`data` is an unfinished head. Raises RequestRefused 400 if it is no request's beginning.

    So a client that speaks another protocol is told at once and not waited for.
    """
    if b"\n" not in data and not _LINE_START.fullmatch(data):
        raise RequestRefused(400, "not_http")


def parse_request_head(head: bytes, *, line_limit: int, field_limit: int) -> RequestHead:
    """`head` ends with its empty line. Raises RequestRefused."""
    if len(head) <= _REMEMBERED_BYTES:
        return _known_request_head(head, line_limit, field_limit)
    return _read_request_head(head, line_limit, field_limit)


def parse_response_head(head: bytes, *, field_limit: int) -> ResponseHead:
    """`head` ends with its empty line. Raises ResponseRefused."""
    if len(head) <= _REMEMBERED_BYTES:
        return _known_response_head(head, field_limit)
    return _read_response_head(head, field_limit)


def _read_request_head(head: bytes, line_limit: int, field_limit: int) -> RequestHead:
    method, wire_target, minor_version = _request_line(head[: head.index(b"\r\n")], line_limit)
    target = parse_target(method, wire_target)
    try:
        fields = field_lines(httptools.HttpRequestParser, head, field_limit)
    except httptools.HttpParserInvalidMethodError:
        raise RequestRefused(501, "unknown_method") from None
    except HttpError as error:
        status = 431 if error.reason == "too_many_fields" else 400
        raise RequestRefused(status, error.reason) from None
    try:
        return _request(method, target, wire_target, minor_version, fields)
    except FramingError as error:
        # RFC 9112, section 6.1: 501 for a transfer coding that is not understood.
        status = 501 if error.reason == "unknown_transfer_coding" else 400
        raise RequestRefused(status, error.reason) from None


def _read_response_head(head: bytes, field_limit: int) -> ResponseHead:
    match = _STATUS_LINE.fullmatch(head, 0, head.index(b"\r\n"))
    if match is None:
        raise ResponseRefused("bad_status_line")
    try:
        fields = field_lines(httptools.HttpResponseParser, head, field_limit)
        return _response(int(match[2]), match[3] or b"", int(match[1]), fields)
    except HttpError as error:
        raise ResponseRefused(error.reason) from None


# What was refused is not remembered: lru_cache keeps results only.
_known_request_head: Final = lru_cache(_REMEMBERED)(_read_request_head)
_known_response_head: Final = lru_cache(_REMEMBERED)(_read_response_head)


def _request_line(line: bytes, limit: int) -> tuple[bytes, bytes, int]:
    if len(line) > limit:
        raise RequestRefused(414, "request_line_too_long")
    parts = line.split(b" ")
    # RFC 9112, section 3: single spaces. llhttp forgives several, a server behind may not.
    if len(parts) != 3 or not _METHOD.fullmatch(parts[0]):
        raise RequestRefused(400, "bad_request_line")
    method, target, version = parts
    if version == b"HTTP/1.1":
        return method, target, 1
    if version == b"HTTP/1.0":
        return method, target, 0
    if _VERSION.fullmatch(version):
        raise RequestRefused(505, "unsupported_version")
    raise RequestRefused(400, "bad_request_line")


def _request(
    method: bytes,
    target: Target,
    wire_target: bytes,
    minor_version: int,
    fields: tuple[Field, ...],
) -> RequestHead:
    bins = sort_fields(fields, REQUEST_KINDS)
    authority = _authority(values(bins[HOST]), target.authority, minor_version)
    length = body_length(values(bins[CONTENT_LENGTH]))
    codings = values(bins[TRANSFER_ENCODING])
    request_id = bins[REQUEST_ID]
    return RequestHead(
        method,
        wire_target,
        target.form,
        minor_version,
        authority,
        None if authority is None else host_name(authority),
        length,
        body_chunked(codings, minor_version=minor_version, has_length=length is not None),
        tokens(bins[CONNECTION]),
        joined(bins[UPGRADE]),
        _expects_continue(bins[EXPECT], minor_version),
        request_id[0][1] if len(request_id) == 1 else None,
        tuple(bins[FORWARDING]),
        tuple([f for f in bins[PLAIN] if b"_" not in f[0] or not imitates(f[0])]),
        fields,
    )


def _response(
    status: int, reason: bytes, minor_version: int, fields: tuple[Field, ...]
) -> ResponseHead:
    bins = sort_fields(fields, RESPONSE_KINDS)
    length = body_length(values(bins[CONTENT_LENGTH]))
    codings = values(bins[TRANSFER_ENCODING])
    return ResponseHead(
        status,
        reason,
        minor_version,
        length,
        body_chunked(codings, minor_version=minor_version, has_length=length is not None),
        tokens(bins[CONNECTION]),
        joined(bins[UPGRADE]),
        bool(bins[DATE]),
        tuple(bins[PLAIN] + bins[DATE]),
        fields,
    )


def _expects_continue(fields: list[Field], minor_version: int) -> bool:
    # RFC 9110, section 10.1.1: a 1.0 request's expectation is ignored, an unknown one gets 417.
    if not fields or minor_version == 0:
        return False
    if any(value.lower() != b"100-continue" for value in values(fields)):
        raise RequestRefused(417, "unknown_expectation")
    return True


def _authority(hosts: list[bytes], absolute: bytes | None, minor_version: int) -> bytes | None:
    """RFC 9112, section 3.2: exactly one Host in HTTP/1.1; 3.2.2: an absolute-form outranks it."""
    if len(hosts) > 1:
        raise RequestRefused(400, "repeated_host")
    if not hosts:
        if minor_version == 1:
            raise RequestRefused(400, "missing_host")
        return absolute
    host_name(hosts[0])
    return hosts[0] if absolute is None else absolute
