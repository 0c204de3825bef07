"""One leg's framing against the other's, and what that means for the connection."""

from __future__ import annotations

import pytest

from proxy.http.delivery import Delivery, deliver
from proxy.http.framing import COMPLETE, Chunked, Length, UntilClose
from proxy.http.head import parse_request_head, parse_response_head

LENGTH = b"Content-Length: 5\r\n"
CODED = b"Transfer-Encoding: chunked\r\n"


def decided(method: bytes, minor: int, status: int, fields: bytes) -> Delivery:
    request = parse_request_head(
        b"%b / HTTP/1.%d\r\nHost: a\r\n\r\n" % (method, minor), line_limit=99, field_limit=9
    )
    response = parse_response_head(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, fields), field_limit=9)
    return deliver(request, response)


@pytest.mark.parametrize(
    ("method", "minor", "status", "fields", "expected"),
    [
        (b"GET", 1, 200, LENGTH, Delivery(Length(5), False, LENGTH, True)),
        (b"GET", 0, 200, LENGTH, Delivery(Length(5), False, LENGTH, True)),
        (b"GET", 1, 200, CODED, Delivery(Chunked(), True, CODED, True)),
        (b"GET", 0, 200, CODED, Delivery(Chunked(), False, b"", False)),
        (b"GET", 1, 200, b"", Delivery(UntilClose(), True, CODED, True)),
        (b"GET", 0, 200, b"", Delivery(UntilClose(), False, b"", False)),
        (b"HEAD", 1, 200, LENGTH, Delivery(COMPLETE, False, LENGTH, True)),
        (b"HEAD", 1, 200, CODED, Delivery(COMPLETE, False, CODED, True)),
        (b"HEAD", 0, 200, CODED, Delivery(COMPLETE, False, b"", True)),
        (b"HEAD", 1, 200, b"", Delivery(COMPLETE, False, b"", True)),
        (b"GET", 1, 204, LENGTH, Delivery(COMPLETE, False, b"", True)),
        (b"GET", 1, 204, CODED, Delivery(COMPLETE, False, b"", True)),
        (b"GET", 1, 304, LENGTH, Delivery(COMPLETE, False, LENGTH, True)),
        (b"GET", 1, 304, CODED, Delivery(COMPLETE, False, b"", True)),
    ],
)
def test_how_a_response_is_delivered(
    method: bytes, minor: int, status: int, fields: bytes, expected: Delivery
) -> None:
    assert decided(method, minor, status, fields) == expected


def test_an_empty_body_of_known_length_stays_one() -> None:
    empty = decided(b"GET", 1, 200, b"Content-Length: 0\r\n")
    assert empty == Delivery(COMPLETE, False, b"Content-Length: 0\r\n", True)
