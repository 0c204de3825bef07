"""The written forms of single values: sizes, host names, addresses, server URLs, paths.

Rules: each function takes what stood in the file and returns the value that the layers work
with, or raises Unfit, whose text says what the form is.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

from proxy.config.errors import Unfit, quote
from proxy.front import BindAddress, Family
from proxy.upstream import ServerAddress

SIZE_PATTERN = "^[0-9]{1,15} ?[KMG]iB$"
"""The text form of a size, for the schema."""

_SIZE = re.compile(r"([0-9]{1,15}) ?([KMG])iB")
# What one customer gets: proxy.front counts by it.
_SOURCE_BITS = 64
_DEFAULT_PORTS = {"https": 443, "http": 80}
_SCALE = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# Underscores are no host name's by RFC 952, and are in many a compose file.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LABELLED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PORT = re.compile(r"[0-9]{1,5}")


def size_bytes(value: object) -> object:
    """A number of bytes, or text with a binary unit: 65536, "64KiB", "1 MiB"."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unfit('bytes as a whole number, or with KiB, MiB or GiB like "64KiB"')
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise Unfit('bytes as a whole number, or with KiB, MiB or GiB like "64KiB"')
    return int(match[1]) * _SCALE[match[2]]


def label(text: str) -> str:
    """A name that logs and metrics show: a listener's or a backend's."""
    if not _LABELLED.fullmatch(text):
        raise Unfit("a name of at most 64 letters, digits, '-', '_' and '.'")
    return text


def host_name(text: str) -> str:
    """A DNS name, in lower case afterwards."""
    name = text.lower()
    if not name.isascii():
        raise Unfit("a host name in ASCII", "write it in its xn-- form")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(part) for part in labels):
        raise Unfit("a host name such as example.org")
    if labels[-1].isdecimal():
        # RFC 6066, Section 3: literal addresses are not permitted as a server name.
        raise Unfit("a host name, not an address")
    return name


def server_name(text: str) -> str:
    """A name clients ask for by SNI: exact, or with `*` as its whole first label."""
    if text == "*":
        raise Unfit("a host name", "for all other names use `default: true`")
    if "*" not in text:
        return host_name(text)
    if not text.startswith("*.") or "*" in text[1:]:
        raise Unfit("a wildcard only as the whole first label, like *.example.org")
    return f"*.{host_name(text[2:])}"


def host_pattern(text: str) -> str:
    """A request's host in a route: a name, `*.name`, or `*` for every host."""
    return text if text == "*" else server_name(text)


def server_url(value: object) -> ServerAddress:
    """A backend's server: https://host, https://host:port, or the same with http."""
    expected = "a server as https://HOST[:PORT] or http://HOST[:PORT]"
    text = _text(value, expected)
    written, separator, authority = text.partition("://")
    if not separator or written not in ("https", "http"):
        raise Unfit(expected)
    scheme: Literal["https", "http"] = "https" if written == "https" else "http"
    if any(character in authority for character in "/?#@"):
        raise Unfit(expected, "nothing after it: paths come from the request")
    host, port = _split_port(authority, expected)
    if not host:
        raise Unfit(expected)
    number = _port(port) if port else _DEFAULT_PORTS[scheme]
    return ServerAddress(scheme=scheme, host=_url_host(host, expected), port=number)


def _url_host(host: str, expected: str) -> str:
    if host.startswith("["):
        return str(_ipv6(host[1:-1], expected))
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        return host_name(host)


def bind_address(value: object) -> BindAddress:
    """Where a listener listens: IPv4:port, [IPv6]:port, or unix:path.

    A UNIX path may still be relative; the caller knows to what.
    """
    expected = 'an address as "IPV4:PORT", "[IPV6]:PORT" or "unix:PATH"'
    text = _text(value, expected)
    if text.startswith("unix:"):
        return BindAddress(family=Family.UNIX, host=file_path(text.removeprefix("unix:")))
    host, port = _split_port(text, expected)
    if not port:
        raise Unfit(expected)
    if host.startswith("["):
        address = str(_ipv6(host[1:-1], expected))
        return BindAddress(family=Family.INET6, host=address, port=_port(port))
    try:
        ipv4 = str(ipaddress.IPv4Address(host))
    except ValueError:
        raise Unfit(expected, "names are not looked up for listening") from None
    return BindAddress(family=Family.INET, host=ipv4, port=_port(port))


def tcp_address(value: object) -> BindAddress:
    """Where the admin server listens: IPv4:port or [IPv6]:port."""
    if isinstance(value, str) and value.startswith("unix:"):
        raise Unfit('an address as "IPV4:PORT" or "[IPV6]:PORT"', "a UNIX path goes to `socket`")
    return bind_address(value)


def source_network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network of sources, of which each is an IPv4 address or an IPv6 /64."""
    expected = 'a network as "192.0.2.0/24" or "2001:db8::/32"'
    text = _text(value, expected)
    if "%" in text:
        raise Unfit(expected, "an interface is no part of a source")
    try:
        network = ipaddress.ip_network(text, strict=False)
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        raise Unfit(expected) from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen > _SOURCE_BITS:
        mapped = network.network_address.ipv4_mapped
        hint = f"a source is a whole /{_SOURCE_BITS}"
        if mapped is not None:
            hint = "mapped addresses are written as IPv4"
        raise Unfit(f"an IPv6 network of /{_SOURCE_BITS} or larger", hint)
    if address != network.network_address:
        raise Unfit("a network's first address", f"did you mean {quote(str(network))}?")
    return network


def file_path(text: str) -> str:
    """The path of a file or a socket, as written."""
    if not text or "\0" in text:
        raise Unfit("a path")
    return text


def environment_name(text: str) -> str:
    """The name of an environment variable."""
    if not text or "=" in text or "\0" in text:
        raise Unfit("the name of an environment variable")
    return text


def path_prefix(text: str) -> str:
    """The beginning of a request's path, decoded and in normal form, as routes compare it."""
    expected = 'a path that begins with "/"'
    if not text.startswith("/") or not text.isprintable() or " " in text:
        raise Unfit(expected)
    if any(character in text for character in "?#%"):
        raise Unfit(f'{expected}, without "?", "#" and "%"', "paths are compared decoded")
    if any(segment in ("", ".", "..") for segment in text.split("/")[1:-1]) or text.endswith(
        ("/.", "/..")
    ):
        raise Unfit(f'{expected}, without "//", "/./" and "/../"')
    return text


def token(text: str) -> str:
    """A token of HTTP (RFC 9110, Section 5.6.2)."""
    if not _TOKEN.fullmatch(text):
        raise Unfit("a token: letters, digits and !#$%&'*+-.^_`|~")
    return text


def worker_count(value: object) -> object:
    """A number of worker processes, or "auto"."""
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 256:
        raise Unfit('"auto" or a whole number from 1 to 256')
    return value


def application_protocol(text: str) -> str:
    """An ALPN protocol name (RFC 7301, Section 3.1): 1 to 255 bytes, here visible ASCII."""
    if not 1 <= len(text) <= 255 or not (text.isascii() and text.isprintable()):
        raise Unfit("an ALPN protocol name of 1 to 255 visible ASCII characters")
    return text


def _text(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise Unfit(expected)
    return value


def _split_port(text: str, expected: str) -> tuple[str, str]:
    """Host (brackets kept) and port; the port is empty where there is none."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        if not bracket or (rest and not rest.startswith(":")) or rest == ":":
            raise Unfit(expected)
        return host + bracket, rest[1:]
    if text.count(":") > 1:
        raise Unfit(expected, f"IPv6 addresses stand in brackets: {quote(f'[{text}]')}")
    host, colon, port = text.partition(":")
    if colon and not port:
        raise Unfit(expected)
    return host, port


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise Unfit("a port from 1 to 65535")
    return int(text)


def _ipv6(text: str, expected: str) -> ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        raise Unfit(expected) from None
