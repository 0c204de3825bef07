"""How a response reaches this client: RFC 9112, section 6, seen from both legs.

Pure: what the backend framed one way may have to be framed another way for the client, and
whether the connection can go on follows from that.
"""

from __future__ import annotations

from typing import NamedTuple

from proxy.http.fields import framing_lines
from proxy.http.framing import Framing, response_framing
from proxy.http.head import RequestHead, ResponseHead


class Delivery(NamedTuple):
    """One response's way to the client."""

    framing: Framing
    """How the backend frames the body."""
    chunked: bool
    """The client gets it chunked; otherwise the bytes as they are."""
    lines: bytes
    """The framing field for the client."""
    delimited: bool
    """The client can tell where the body ends without a close."""


def deliver(request: RequestHead, response: ResponseHead) -> Delivery:
    """Decide for a final response."""
    status = response.status
    to_head = request.method == b"HEAD"
    length = response.content_length
    framing = response_framing(status, length, response.chunked, to_head=to_head)
    if framing.complete and (to_head or status in (204, 304)):
        # A field here tells what GET would have said. RFC 9110, section 8.6, and RFC 9112,
        # section 6.1: neither with 204; no transfer coding for a 1.0 client.
        coded = response.chunked and request.minor_version == 1 and status not in (204, 304)
        lines = framing_lines(None if status == 204 else length, coded)
        return Delivery(framing, chunked=False, lines=lines, delimited=True)
    if length is not None:
        return Delivery(framing, chunked=False, lines=framing_lines(length, False), delimited=True)
    chunked = request.minor_version == 1
    # RFC 9112, section 6.3: to a 1.0 client a body of unknown length ends with the connection.
    return Delivery(framing, chunked, framing_lines(None, chunked), delimited=chunked)
