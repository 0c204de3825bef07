"""Which backend serves a request: by host, then by path prefix.

Rules, as nginx and Envoy have them: the most specific host is chosen first (exact name, then the
longest wildcard, then `*`) and only its routes are looked at; of those the longest prefix that
ends at a segment boundary wins, whatever the order of the configuration. Paths are compared
decoded and without dot segments but forwarded as they came. A path that two servers could read
in two ways is refused if the readings lead to different routes, since the choice of route may be
what protects a backend.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from proxy.http.errors import RequestRefused
from proxy.http.target import host_name, readings
from proxy.upstream import Backend

# Escapes, queries, empty and dot segments never match a path in normal form.
_UNPLAIN: Final = re.compile(rb"[%?#]|//|/\.\.?(?:/|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Requests for `host` below `path_prefix` go to `backend`."""

    backend: Backend
    host: str = "*"
    """`name`, `*.name` (one label or more in front, never the bare name), or `*`."""
    path_prefix: str = "/"
    """Decoded, in normal form; a closing slash makes no difference."""
    preserve_host: bool = True
    """Send the client's Host; else the server's own name."""


class RouteTable:
    """An immutable set of routes; `match` is pure."""

    __slots__ = ("_any", "_exact", "_wildcard")

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises ValueError for a malformed or repeated (host, prefix)."""
        self._exact: dict[bytes, _Prefixes] = {}
        self._wildcard: dict[bytes, _Prefixes] = {}
        self._any = _Prefixes()
        for route in routes:
            self._prefixes(route.host).add(route)

    def match(self, host: bytes | None, form: bytes) -> Route | None:
        """`host` as RequestHead.host, `form` as RequestHead.form; None is a 404.

        Raises RequestRefused 400 for a path whose route depends on who reads it.
        """
        prefixes = self._for_host(host)
        paths = readings(form)
        route = prefixes.longest(paths[0])
        for path in paths[1:]:
            if prefixes.longest(path) is not route:
                raise RequestRefused(400, "ambiguous_path")
        return route

    def _for_host(self, host: bytes | None) -> _Prefixes:
        if host is None:
            return self._any
        exact = self._exact.get(host)
        if exact is not None:
            return exact
        if self._wildcard:
            rest = host
            while rest:
                rest = rest.partition(b".")[2]
                found = self._wildcard.get(rest)
                if found is not None:
                    return found
        return self._any

    def _prefixes(self, host: str) -> _Prefixes:
        if host == "*":
            return self._any
        table = self._wildcard if host.startswith("*.") else self._exact
        name = host.removeprefix("*.")
        if ":" in name and not name.endswith("]"):
            raise ValueError(f"a route's host has no port: {host!r}")
        try:
            key = host_name(name.encode("ascii"))
        except (RequestRefused, UnicodeEncodeError):
            raise ValueError(f"not a host name: {host!r}") from None
        return table.setdefault(key, _Prefixes())


class _Prefixes:
    """One host's routes, longest prefix first."""

    __slots__ = ("_routes",)

    def __init__(self) -> None:
        self._routes: list[tuple[bytes, bytes, Route]] = []

    def add(self, route: Route) -> None:
        prefix = route.path_prefix.encode().rstrip(b"/")
        if not route.path_prefix.startswith("/") or _UNPLAIN.search(prefix):
            raise ValueError(f"not a plain absolute path: {route.path_prefix!r}")
        if any(prefix == known for known, _, _ in self._routes):
            raise ValueError(f"route given twice: {route.host!r} {route.path_prefix!r}")
        self._routes.append((prefix, prefix + b"/", route))
        self._routes.sort(key=lambda entry: len(entry[0]), reverse=True)

    def longest(self, path: bytes) -> Route | None:
        for prefix, below, route in self._routes:
            if path.startswith(below) or path == prefix:
                return route
        return None
