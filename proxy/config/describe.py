"""A configuration in words, for `vestibule check`.

Rules: lines of text without secrets; the caller prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from proxy.config.configuration import Configuration, NameSettings
from proxy.config.errors import Caution, ConfigError, Problem
from proxy.config.load import load
from proxy.front import Form, ListenerSettings, ServerNameSettings
from proxy.upstream import BackendSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What checking a file came to."""

    problems: tuple[Problem, ...]
    """All errors; none: the file can be used."""
    cautions: tuple[Caution, ...]
    """What works and will probably be regretted."""
    summary: tuple[str, ...]
    """The configuration in words; empty where there are problems."""

    @property
    def ok(self) -> bool:
        """Whether the proxy would start with this file."""
        return not self.problems

    def lines(self) -> tuple[str, ...]:
        """The whole report: problems or the summary, and the cautions last."""
        return (
            *(f"error: {problem}" for problem in self.problems),
            *self.summary,
            *(f"warning: {caution}" for caution in self.cautions),
        )


def check(path: str | Path) -> CheckReport:
    """Load a file without starting anything; never raises for what the file holds."""
    try:
        configuration = load(path)
    except ConfigError as error:
        return CheckReport(problems=error.problems, cautions=error.cautions, summary=())
    return CheckReport(
        problems=(), cautions=configuration.cautions, summary=describe(configuration)
    )


def describe(configuration: Configuration) -> tuple[str, ...]:
    """Listeners, names with their certificates' ends, routes and backends."""
    return tuple(_lines(configuration))


def _lines(configuration: Configuration) -> Iterator[str]:
    processes, admin = configuration.processes, configuration.admin
    user = "" if processes.keyless_user is None else f" as {processes.keyless_user.name}"
    yield f"processes: {processes.fronts} front(s){user}, {processes.workers} worker(s)"
    names = {each.index: each for each in configuration.names}
    for listener in configuration.front.listeners:
        yield from _listener(listener, names)
    for backend in configuration.backends:
        yield _backend(backend)
    yield f"admin: listen {admin.listen or 'off'}, socket {admin.socket or 'off'}"


def _listener(listener: ListenerSettings, names: dict[int, NameSettings]) -> Iterator[str]:
    addresses = ", ".join(str(address) for address in listener.bind)
    yield f"listener {listener.name}: {addresses} ({listener.answer.value})"
    for entry in listener.server_names:
        yield from _server_name(entry, names[entry.index])


def _server_name(entry: ServerNameSettings, settings: NameSettings) -> Iterator[str]:
    shown = [*entry.names, "(default)"] if entry.default else entry.names
    yield f"  {', '.join(shown)}"
    for certificate in entry.certificates:
        end = datetime.fromtimestamp(certificate.not_after_s, UTC)
        yield f"    certificate {certificate.source}, valid until {end:%Y-%m-%d %H:%M} UTC"
    if settings.form is Form.TCP:
        yield f"    tcp -> {settings.tcp_backend}"
    for route in settings.routes:
        yield f"    {route.host}{route.path_prefix} -> {route.backend}"


def _backend(backend: BackendSettings) -> str:
    servers = ", ".join(str(server) for server in backend.servers)
    if not any(server.scheme == "https" for server in backend.servers):
        return f"backend {backend.name}: {servers}"
    tls = backend.tls
    if not tls.verify:
        trust = "not verified"
    elif tls.ca_pem is not None:
        trust = "verified by its own authorities"
    else:
        trust = "verified by the system's authorities"
    return f"backend {backend.name}: {servers} ({trust})"
