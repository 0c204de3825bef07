"""The model, checked and complete -> the layers' settings.

Rules: cannot fail; whatever could has been checked before. Every key of the model is used here,
once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from proxy.config.configuration import (
    AdminSettings,
    NameSettings,
    ProcessSettings,
    RouteSettings,
)
from proxy.config.material import Material
from proxy.config.model import Backend, ConfigurationFile, Listener, ServerNameEntry
from proxy.config.sources import Sources
from proxy.front import (
    AnswerPolicy,
    BindAddress,
    Family,
    Form,
    FrontSettings,
    ListenerSettings,
    PressureSettings,
    ServerNameSettings,
    SourceSettings,
    TlsSettings,
)
from proxy.http import HttpSettings
from proxy.telemetry import LoggingSettings
from proxy.upstream import BackendSettings, BackendTls

_HTTP_ALPN = ("http/1.1",)


def front(shape: ConfigurationFile, material: Material, sources: Sources) -> FrontSettings:
    """What fronts do."""
    indices = iter(range(sum(len(each.server_names) for each in shape.listeners)))
    return FrontSettings(
        listeners=tuple(
            _listener(shape, i, _server_names(listener, i, material, indices), sources)
            for i, listener in enumerate(shape.listeners)
        ),
        handoff_timeout_s=shape.timeouts.handoff_s,
        pressure=PressureSettings(
            half_open=shape.pressure.half_open,
            lag_s=shape.pressure.lag_s,
            answers_per_s=shape.pressure.answers_per_s,
            abandoned_share=shape.pressure.abandoned_share,
            calm_s=shape.pressure.calm_s,
        ),
        sources=SourceSettings(
            half_open_limit=shape.sources.half_open_limit, exempt=shape.sources.exempt
        ),
    )


def names(shape: ConfigurationFile) -> tuple[NameSettings, ...]:
    """What workers do with each entry of the listeners' server names."""
    entries = (
        (listener.name, entry) for listener in shape.listeners for entry in listener.server_names
    )
    return tuple(_name(index, listener, entry) for index, (listener, entry) in enumerate(entries))


def backends(shape: ConfigurationFile, material: Material) -> tuple[BackendSettings, ...]:
    """The groups of servers."""
    return tuple(
        _backend(name, backend, material.authorities.get(name))
        for name, backend in shape.backends.items()
    )


def http(shape: ConfigurationFile) -> HttpSettings:
    """How requests are passed on."""
    return HttpSettings(
        head_limit_bytes=shape.limits.head_bytes,
        request_line_limit_bytes=shape.limits.request_line_bytes,
        field_limit=shape.limits.fields,
        request_body_limit_bytes=shape.limits.request_body_bytes,
        request_head_timeout_s=shape.timeouts.request_head_s,
        idle_timeout_s=shape.timeouts.client_idle_s,
        body_timeout_s=shape.timeouts.request_body_s,
        client_write_timeout_s=shape.timeouts.client_write_s,
        tunnel_idle_timeout_s=shape.timeouts.tunnel_idle_s,
        lingering_timeout_s=shape.timeouts.lingering_s,
        attempts=shape.http.attempts,
        forwarding=shape.http.forwarding,
        trust_request_id=shape.http.trust_request_id,
        via=shape.http.via,
        upgrades=frozenset(name.lower() for name in shape.http.upgrades),
    )


def processes(shape: ConfigurationFile, material: Material) -> ProcessSettings:
    """How many processes there are."""
    wanted = shape.processes.workers
    return ProcessSettings(
        fronts=shape.processes.fronts,
        workers=len(os.sched_getaffinity(0)) if wanted == "auto" else wanted,
        keyless_user=material.keyless_user,
        drain_timeout_s=shape.timeouts.drain_s,
        stuck_timeout_s=shape.timeouts.stuck_s,
    )


def admin(shape: ConfigurationFile, sources: Sources) -> AdminSettings:
    """Where the supervisor answers."""
    return AdminSettings(listen=shape.admin.listen, socket=_absolute(shape.admin.socket, sources))


def logging(shape: ConfigurationFile, sources: Sources) -> LoggingSettings:
    """What is written where."""
    section = shape.logging
    return LoggingSettings(
        level=section.level,
        format=section.format,
        access=section.access,
        file=_absolute(section.file, sources),
        access_file=_absolute(section.access_file, sources),
    )


def _listener(
    shape: ConfigurationFile,
    index: int,
    server_names: tuple[ServerNameSettings, ...],
    sources: Sources,
) -> ListenerSettings:
    listener = shape.listeners[index]
    return ListenerSettings(
        name=listener.name,
        bind=tuple(_address(address, sources) for address in listener.bind),
        dual_stack=listener.dual_stack,
        backlog=listener.backlog,
        answer=AnswerPolicy(listener.answer),
        server_names=server_names,
        tls=TlsSettings(
            suites=listener.tls.suites, groups=listener.tls.groups, prefer=listener.tls.prefer
        ),
        hello_timeout_s=shape.timeouts.hello_s,
        reply_timeout_s=shape.timeouts.reply_s,
        handshake_timeout_s=shape.timeouts.handshake_s,
        hello_limit_bytes=shape.limits.hello_bytes,
        half_open_limit=shape.limits.half_open,
        partial_hello_limit_bytes=shape.limits.partial_hello_bytes,
    )


def _server_names(
    listener: Listener, i: int, material: Material, indices: Iterator[int]
) -> tuple[ServerNameSettings, ...]:
    return tuple(
        ServerNameSettings(
            index=next(indices),
            names=entry.names,
            default=entry.default,
            certificates=tuple(
                material.certificates["listeners", i, "server_names", j, "certificates", k]
                for k in range(len(entry.certificates))
            ),
            alpn=_alpn(entry),
            form=_form(entry),
        )
        for j, entry in enumerate(listener.server_names)
    )


def _name(index: int, listener: str, entry: ServerNameEntry) -> NameSettings:
    return NameSettings(
        index=index,
        listener=listener,
        names=entry.names,
        form=_form(entry),
        routes=tuple(
            RouteSettings(
                host=route.host,
                path_prefix=route.path_prefix,
                backend=route.backend,
                preserve_host=route.preserve_host,
            )
            for route in entry.routes or ()
        ),
        tcp_backend=entry.tcp.backend if entry.tcp is not None else None,
    )


def _backend(name: str, backend: Backend, ca_pem: bytes | None) -> BackendSettings:
    return BackendSettings(
        name=name,
        servers=backend.servers,
        tls=BackendTls(
            verify=backend.tls.verify,
            ca_pem=ca_pem,
            server_name=backend.tls.server_name,
            alpn=backend.tls.alpn,
        ),
        connect_timeout_s=backend.timeouts.connect_s,
        read_timeout_s=backend.timeouts.read_s,
        write_timeout_s=backend.timeouts.write_s,
        max_connections=backend.pool.connections,
        max_idle=backend.pool.idle,
        idle_timeout_s=backend.pool.idle_s,
        max_waiting=backend.pool.waiting,
        wait_timeout_s=backend.pool.wait_s,
        connect_attempts=backend.failures.attempts,
        failures=backend.failures.in_a_row,
        set_aside_s=backend.failures.set_aside_s,
        set_aside_max_s=backend.failures.set_aside_max_s,
    )


def _form(entry: ServerNameEntry) -> Form:
    return Form.HTTP if entry.tcp is None else Form.TCP


def _alpn(entry: ServerNameEntry) -> tuple[str, ...]:
    if entry.alpn is not None:
        return entry.alpn
    return _HTTP_ALPN if entry.tcp is None else ()


def _address(address: BindAddress, sources: Sources) -> BindAddress:
    if address.family is not Family.UNIX:
        return address
    return BindAddress(family=Family.UNIX, host=str(sources.resolve(address.host)))


def _absolute(path: str | None, sources: Sources) -> str | None:
    return None if path is None else str(sources.resolve(path))
