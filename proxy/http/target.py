"""The request target (RFC 9112, section 3.2) and the host it is meant for.

Rules: what is forwarded is always origin-form (or `*`), and the authority in effect is one value:
the absolute-form's if there is one, else the Host field's. Only a plain host and port are taken
as authority; sub-delims, percent-encoding and userinfo have no honest use there. Paths are
forwarded as they came and only read here, to find their route.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from proxy.http.errors import RequestRefused

# Visible ASCII but "#": a fragment is never sent (RFC 9112, section 3.2), and anything else
# would be read differently by different servers.
_TARGET: Final = re.compile(rb"[!-\"$-~]+")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)
_AUTHORITY: Final = re.compile(rb"(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]{2,45})\])(?::(\d{1,5}))?")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00")
# What servers read differently; a path without these is in normal form.
_SEVERAL_READINGS: Final = re.compile(rb"[%;\\]|//|/\.")
_ENCODED_SLASH: Final = re.compile(rb"%2f", re.IGNORECASE)
_PARAMETERS: Final = re.compile(rb";[^/]*")
_HOST_LIMIT: Final = 260


class Target(NamedTuple):
    """`form` is what is sent on: an absolute path with its query, or `*`."""

    form: bytes
    authority: bytes | None


def parse_target(method: bytes, target: bytes) -> Target:
    """Raises RequestRefused 400 for what is no target, 405 for CONNECT and TRACE.

    Both methods are answered like nginx does: this is a gateway and opens no tunnels on request,
    and TRACE would show fields that the gateway added.
    """
    if not _TARGET.fullmatch(target):
        raise RequestRefused(400, "bad_target")
    if method in (b"CONNECT", b"TRACE"):
        raise RequestRefused(405, "method_not_allowed")
    if target[0] == 0x2F:
        return Target(target, None)
    if target == b"*" and method == b"OPTIONS":
        return Target(target, None)
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise RequestRefused(400, "bad_target")
    form = match[2]
    if not form:
        # RFC 9112, section 3.2.4: OPTIONS for a bare authority becomes asterisk-form.
        form = b"*" if method == b"OPTIONS" else b"/"
    elif form[0] == 0x3F:
        form = b"/" + form
    return Target(form, match[1])


@lru_cache(maxsize=1024)
def host_name(authority: bytes) -> bytes:
    """The host of `authority`, lower case, without port and closing dot. RequestRefused if bad."""
    match = _AUTHORITY.fullmatch(authority) if len(authority) <= _HOST_LIMIT else None
    if match is None or (match[3] is not None and int(match[3]) > 0xFFFF):
        raise RequestRefused(400, "bad_host")
    if match[2] is not None:
        try:
            return b"[%b]" % IPv6Address(match[2].decode("ascii")).compressed.encode("ascii")
        except ValueError:
            raise RequestRefused(400, "bad_host") from None
    host = match[1].lower()
    host = host[:-1] if host.endswith(b".") else host
    if not host or host.startswith(b".") or b".." in host:
        raise RequestRefused(400, "bad_host")
    return host


def readings(form: bytes) -> tuple[bytes, ...]:
    """The path of `form` as the servers behind may read it; the first one decides the route.

    One reading if the path is in normal form, which nearly all are. Otherwise two: all escapes
    decoded, dot segments removed and runs of slashes merged, as nginx reads it; and with an
    escaped slash and empty segments kept, as most applications do. A path with ";" or a backslash
    has a third: without parameters, as servlet containers read it, and the backslash a slash, as
    Windows servers do. RequestRefused 400 where a path climbs above its root or hides a dot
    segment behind a parameter ("..;").
    """
    path = form.partition(b"?")[0]
    if path == b"*":
        return (b"/",)
    if not _SEVERAL_READINGS.search(path):
        return (path,)
    if _BAD_ESCAPE.search(path):
        raise RequestRefused(400, "bad_escape")
    decoded = unquote_to_bytes(path)
    kept = unquote_to_bytes(_ENCODED_SLASH.sub(b"%252F", path))
    first, second = _remove_dots(decoded, merge=True), _remove_dots(kept, merge=False)
    if b";" not in decoded and b"\\" not in decoded:
        return first, second
    bare = _PARAMETERS.sub(b"", decoded.replace(b"\\", b"/"))
    return first, second, _remove_dots(bare, merge=True)


def _remove_dots(path: bytes, *, merge: bool) -> bytes:
    """RFC 3986, section 5.2.4, but climbing above the root is refused instead of ignored."""
    kept: list[bytes] = []
    segments = path[1:].split(b"/")
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise RequestRefused(400, "path_above_root")
            kept.pop()
        elif segment.partition(b";")[0] in (b".", b"..") and segment != b".":
            raise RequestRefused(400, "hidden_dot_segment")
        elif segment != b"." and (segment or not merge):
            kept.append(segment)
    if segments[-1] in (b".", b"..", b"") and (not kept or kept[-1]):
        kept.append(b"")
    return b"/" + b"/".join(kept)
