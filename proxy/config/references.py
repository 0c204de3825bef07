"""Checks what no single value shows: names that must exist, be unique, or exclude each other.

Rules: pure; every problem is told at the later or the lesser of two places, and names the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from proxy.config.errors import Location, key_path, quote, suggestion
from proxy.config.findings import Findings
from proxy.config.model import ConfigurationFile, Listener, Route, ServerNameEntry
from proxy.config.sources import Sources
from proxy.front import BindAddress, Family

_HTTP_ALPN = frozenset({"http/1.1"})
# A connection carries its entry's number in 16 bits.
_ENTRIES_MAX = 65_535
_OWN_ADDRESS = "an address of its own"
# What the kernel's sockaddr_un holds, its final zero left out (unix(7)).
_SOCKET_PATH_BYTES = 107


def check(shape: ConfigurationFile, sources: Sources, findings: Findings) -> None:
    """Report all that does not fit together."""
    _check_unique_listeners(shape, findings)
    _check_addresses(shape, sources, findings)
    used: set[str] = set()
    for i, listener in enumerate(shape.listeners):
        at: Location = ("listeners", i)
        if "1.2" in listener.tls.versions:
            at_version = (*at, "tls", "versions", listener.tls.versions.index("1.2"))
            findings.problem(at_version, '"1.3"', '"1.2"', "TLS 1.2 comes with a later release")
        _check_names(listener, at, findings)
        for j, entry in enumerate(listener.server_names):
            place = (*at, "server_names", j)
            _check_form(entry, place, findings)
            _check_routes(entry, place, findings)
            for backend, location in _references(entry, place):
                _check_backend(backend, location, shape, findings)
                used.add(backend)
    _check_count(shape, findings)
    _check_backends(shape, used, findings)
    _check_keyless(shape, findings)
    if shape.sources.exempt and shape.sources.half_open_limit is None:
        findings.caution(("sources", "exempt"), "without half_open_limit there is no limit")


def _check_count(shape: ConfigurationFile, findings: Findings) -> None:
    entries = sum(len(listener.server_names) for listener in shape.listeners)
    if entries > _ENTRIES_MAX:
        expected = f"at most {_ENTRIES_MAX} entries of server_names"
        findings.problem(("listeners",), expected, str(entries), "give one entry more names")


def _check_unique_listeners(shape: ConfigurationFile, findings: Findings) -> None:
    seen: dict[str, Location] = {}
    for i, listener in enumerate(shape.listeners):
        _once(listener.name, ("listeners", i, "name"), seen, "a name of its own", findings)


def _check_addresses(shape: ConfigurationFile, sources: Sources, findings: Findings) -> None:
    seen: dict[str, Location] = {}
    # The admin addresses first: they may be defaults, which have no place in the file.
    if shape.admin.listen is not None:
        _once(str(shape.admin.listen), ("admin", "listen"), seen, _OWN_ADDRESS, findings)
    if shape.admin.socket is not None:
        _check_socket(shape.admin.socket, ("admin", "socket"), seen, sources, findings)
    for i, listener in enumerate(shape.listeners):
        for j, address in enumerate(listener.bind):
            location: Location = ("listeners", i, "bind", j)
            if address.family is Family.UNIX:
                _check_socket(address.host, location, seen, sources, findings)
            else:
                for occupied in _occupied(address, dual_stack=listener.dual_stack):
                    _once(occupied, location, seen, _OWN_ADDRESS, findings)


def _check_socket(
    path: str, location: Location, seen: dict[str, Location], sources: Sources, findings: Findings
) -> None:
    resolved = str(sources.resolve(path))
    if len(os.fsencode(resolved)) > _SOCKET_PATH_BYTES:
        expected = f"a path of at most {_SOCKET_PATH_BYTES} bytes"
        findings.problem(location, expected, quote(resolved), "the kernel takes no longer one")
    _once(f"unix:{resolved}", location, seen, _OWN_ADDRESS, findings)


def _occupied(address: BindAddress, *, dual_stack: bool) -> list[str]:
    """The addresses that nobody else can listen on: with dual stack [::] is 0.0.0.0 too."""
    occupied = [str(address)]
    if dual_stack and address.family is Family.INET6 and address.host == "::":
        occupied.append(f"0.0.0.0:{address.port}")
    return occupied


def _check_names(listener: Listener, at: Location, findings: Findings) -> None:
    seen: dict[str, Location] = {}
    default: Location | None = None
    for j, entry in enumerate(listener.server_names):
        place = (*at, "server_names", j)
        for k, name in enumerate(entry.names):
            _once(name, (*place, "names", k), seen, "a name once in a listener", findings)
        if not entry.names and not entry.default:
            findings.problem((*place, "names"), "at least one name, or `default: true`")
        if entry.default:
            if default is None:
                default = place
            else:
                hint = f"{key_path(default)} is it already"
                expected = "at most one default in a listener"
                findings.problem((*place, "default"), expected, "another", hint)


def _check_form(entry: ServerNameEntry, at: Location, findings: Findings) -> None:
    if (entry.routes is None) == (entry.tcp is None):
        found = "neither" if entry.routes is None else "both"
        findings.problem(at, "either `routes` or `tcp`", found)
    if entry.routes == ():
        findings.problem((*at, "routes"), "at least one route")
    if entry.routes is not None:
        for k, protocol in enumerate(entry.alpn or ()):
            if protocol not in _HTTP_ALPN:
                findings.problem((*at, "alpn", k), '"http/1.1" with routes', quote(protocol))


def _check_routes(entry: ServerNameEntry, at: Location, findings: Findings) -> None:
    seen: dict[str, Location] = {}
    for k, route in enumerate(entry.routes or ()):
        location = (*at, "routes", k)
        key = f"{route.host}{route.path_prefix.rstrip('/')}/"
        _once(key, location, seen, "each host and path_prefix once", findings)
        if not _reachable(route, entry):
            names = ", ".join(entry.names)
            findings.caution(location, f"clients come here for {names}, not for {route.host}")


def _reachable(route: Route, entry: ServerNameEntry) -> bool:
    """Whether a client that came by one of the entry's names may ask for the route's host."""
    if entry.default or route.host == "*" or route.host in entry.names:
        return True
    parent = route.host.partition(".")[2]
    if route.host.startswith("*."):
        # One wildcard of a route is for all names below it.
        return any(name.endswith(f".{parent}") for name in entry.names)
    return f"*.{parent}" in entry.names


def _references(entry: ServerNameEntry, at: Location) -> Iterable[tuple[str, Location]]:
    for k, route in enumerate(entry.routes or ()):
        yield route.backend, (*at, "routes", k, "backend")
    if entry.tcp is not None:
        yield entry.tcp.backend, (*at, "tcp", "backend")


def _check_keyless(shape: ConfigurationFile, findings: Findings) -> None:
    """Fronts may run as another user only if none of them holds a certificate key."""
    if shape.processes.keyless_user is None:
        return
    for i, listener in enumerate(shape.listeners):
        if listener.answer != "retry":
            hint = f"{key_path(('listeners', i))} has `answer: {listener.answer}`"
            expected = "null, or `answer: retry` in every listener"
            found = quote(shape.processes.keyless_user)
            findings.problem(("processes", "keyless_user"), expected, found, hint)
            return


def _check_backend(
    name: str, location: Location, shape: ConfigurationFile, findings: Findings
) -> None:
    if name in shape.backends:
        return
    hint = suggestion(name, shape.backends)
    findings.problem(location, "the name of a backend", quote(name), hint)


def _check_backends(shape: ConfigurationFile, used: set[str], findings: Findings) -> None:
    for name, backend in shape.backends.items():
        at: Location = ("backends", name)
        seen: dict[str, Location] = {}
        for i, server in enumerate(backend.servers):
            _once(str(server), (*at, "servers", i), seen, "each server once", findings)
        if backend.failures.set_aside_max_s < backend.failures.set_aside_s:
            expected = f"at least set_aside_s, which is {backend.failures.set_aside_s:g}"
            found = f"{backend.failures.set_aside_max_s:g}"
            findings.problem((*at, "failures", "set_aside_max_s"), expected, found)
        if not backend.tls.verify and any(each.scheme == "https" for each in backend.servers):
            text = "not verified: whoever is on the path can be this backend"
            findings.caution((*at, "tls", "verify"), text)
        if name not in used:
            findings.caution(at, "no route leads to this backend", at_key=True)


def _once(
    value: str, location: Location, seen: dict[str, Location], expected: str, findings: Findings
) -> None:
    """Report a value that was seen before."""
    first = seen.setdefault(value, location)
    if first != location:
        hint = f"{key_path(first)} has it already"
        findings.problem(location, expected, quote(value), hint)
