"""Every key of the file reaches the settings of the layer that it is for."""

from __future__ import annotations

import os
from ipaddress import ip_network

import pytest

from proxy.config import NameSettings, RouteSettings
from proxy.config.configuration import DRAIN_TIMEOUT_S, STUCK_TIMEOUT_S
from proxy.config.model import ConfigurationFile
from proxy.front import (
    AnswerPolicy,
    Form,
    FrontSettings,
    ListenerSettings,
    PressureSettings,
    SourceSettings,
    TlsSettings,
)
from proxy.http import HttpSettings
from proxy.telemetry import LoggingSettings
from proxy.upstream import BackendSettings
from tests.config.site import BASE, Site, replaced

# Every value differs from its default and from all others of its section.
EVERYTHING = """\
listeners:
  - name: public
    bind: ["127.0.0.1:8443", "unix:public.sock"]
    answer: direct
    dual_stack: true
    backlog: 11
    tls: {suites: [TLS_AES_256_GCM_SHA384], groups: [SECP256R1, X25519], prefer: server}
    server_names:
      - names: [Example.org, "*.example.org"]
        certificates: &certificates [{cert_file: example.org.pem, key_file: example.org.key}]
        alpn: []
        routes:
          - {host: WWW.example.org, path_prefix: /api, backend: app, preserve_host: false}
          - {backend: app}
  - name: internal
    bind: ["127.0.0.1:9443"]
    server_names:
      - {default: true, certificates: *certificates, tcp: {backend: app}}
      - {names: [a.org], certificates: *certificates, alpn: [imap], tcp: {backend: app}}
backends:
  app:
    servers: ["https://10.0.0.5", "http://app.example.org:8080"]
    tls: {verify: false, server_name: App.example.org, alpn: [x]}
    timeouts: {connect_s: 1, read_s: 2, write_s: 3}
    pool: {connections: 4, idle: 5, idle_s: 6, waiting: 7, wait_s: 8}
    failures: {attempts: 9, in_a_row: 10, set_aside_s: 11, set_aside_max_s: 12}
processes: {fronts: 2, workers: 3}
timeouts:
  {hello_s: 1, reply_s: 2, handshake_s: 2.5, handoff_s: 4, request_head_s: 5, request_body_s: 6,
   client_idle_s: 7, client_write_s: 8, tunnel_idle_s: 9, lingering_s: 10, drain_s: 11,
   stuck_s: 12}
limits:
  {hello_bytes: 1KiB, half_open: 2, partial_hello_bytes: 3, head_bytes: 5,
   request_line_bytes: 6, fields: 7, request_body_bytes: 8}
pressure: {half_open: 1, lag_s: 2, answers_per_s: 3, abandoned_share: 0.4, calm_s: 5}
sources: {half_open_limit: 1, exempt: [10.0.0.0/8, "2001:db8::/32", 192.0.2.1]}
http: {attempts: 1, forwarding: "off", trust_request_id: true, via: me, upgrades: [A, b]}
admin: {listen: null, socket: run/admin.sock}
logging: {level: debug, format: console, access: "off", file: a.log, access_file: /b.log}
"""


def test_what_fronts_do(site: Site) -> None:
    configuration = site.load(EVERYTHING)
    front = configuration.front
    public, internal = front.listeners
    assert front.handoff_timeout_s == 4
    assert front.pressure == PressureSettings(
        half_open=1, lag_s=2, answers_per_s=3, abandoned_share=0.4, calm_s=5
    )
    networks = ("10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32")
    assert front.sources == SourceSettings(
        half_open_limit=1, exempt=tuple(ip_network(each) for each in networks)
    )
    assert [str(address) for address in public.bind] == [
        "127.0.0.1:8443",
        f"unix:{site.directory}/public.sock",
    ]
    assert (public.name, public.dual_stack, public.backlog) == ("public", True, 11)
    assert (public.answer, internal.answer) == (AnswerPolicy.DIRECT, AnswerPolicy.ADAPTIVE)
    assert public.tls == TlsSettings(
        suites=("TLS_AES_256_GCM_SHA384",), groups=("SECP256R1", "X25519"), prefer="server"
    )
    assert internal.tls == TlsSettings()
    for listener in (public, internal):
        assert (listener.hello_timeout_s, listener.reply_timeout_s) == (1, 2)
        assert (listener.handshake_timeout_s, listener.hello_limit_bytes) == (2.5, 1024)
        assert (listener.half_open_limit, listener.partial_hello_limit_bytes) == (2, 3)
    entries = public.server_names + internal.server_names
    assert [entry.index for entry in entries] == [0, 1, 2]
    assert [entry.names for entry in entries] == [("example.org", "*.example.org"), (), ("a.org",)]
    assert [entry.default for entry in entries] == [False, True, False]
    assert [entry.form for entry in entries] == [Form.HTTP, Form.TCP, Form.TCP]
    assert [entry.alpn for entry in entries] == [(), (), ("imap",)]


@pytest.mark.parametrize("answer", AnswerPolicy)
def test_how_hellos_are_answered(site: Site, answer: AnswerPolicy) -> None:
    (listener,) = site.load(replaced(4, f"    answer: {answer.value}")).front.listeners
    assert listener.answer is answer


def test_what_workers_do_with_names(site: Site) -> None:
    names = ("example.org", "*.example.org")
    routes = (
        RouteSettings(
            host="www.example.org", path_prefix="/api", backend="app", preserve_host=False
        ),
        RouteSettings(host="*", path_prefix="/", backend="app", preserve_host=True),
    )
    assert site.load(EVERYTHING).names == (
        NameSettings(index=0, listener="public", names=names, form=Form.HTTP, routes=routes),
        NameSettings(index=1, listener="internal", names=(), form=Form.TCP, tcp_backend="app"),
        NameSettings(
            index=2, listener="internal", names=("a.org",), form=Form.TCP, tcp_backend="app"
        ),
    )


def test_backends(site: Site) -> None:
    (backend,) = site.load(EVERYTHING).backends
    assert backend.name == "app"
    assert [str(server) for server in backend.servers] == [
        "https://10.0.0.5:443",
        "http://app.example.org:8080",
    ]
    tls = backend.tls
    assert (tls.verify, tls.server_name, tls.alpn) == (False, "app.example.org", ("x",))
    in_order = (
        *(backend.connect_timeout_s, backend.read_timeout_s, backend.write_timeout_s),
        *(backend.max_connections, backend.max_idle, backend.idle_timeout_s),
        *(backend.max_waiting, backend.wait_timeout_s, backend.connect_attempts),
        *(backend.failures, backend.set_aside_s, backend.set_aside_max_s),
    )
    assert in_order == tuple(range(1, 13))


def test_http(site: Site) -> None:
    assert site.load(EVERYTHING).http == HttpSettings(
        request_head_timeout_s=5,
        body_timeout_s=6,
        idle_timeout_s=7,
        client_write_timeout_s=8,
        tunnel_idle_timeout_s=9,
        lingering_timeout_s=10,
        head_limit_bytes=5,
        request_line_limit_bytes=6,
        field_limit=7,
        request_body_limit_bytes=8,
        attempts=1,
        forwarding="off",
        trust_request_id=True,
        via="me",
        upgrades=frozenset({"a", "b"}),
    )


def test_processes_admin_and_logging(site: Site) -> None:
    configuration = site.load(EVERYTHING)
    processes, admin = configuration.processes, configuration.admin
    assert (processes.fronts, processes.workers, processes.drain_timeout_s) == (2, 3, 11)
    assert processes.stuck_timeout_s == 12
    assert (admin.listen, admin.socket) == (None, f"{site.directory}/run/admin.sock")
    assert configuration.logging == LoggingSettings(
        level="debug",
        format="console",
        access="off",
        file=f"{site.directory}/a.log",
        access_file="/b.log",
    )


def test_defaults_are_those_of_the_layers(site: Site) -> None:
    configuration = site.load(BASE)
    (listener,) = configuration.front.listeners
    assert configuration.front == FrontSettings(listeners=(listener,))
    same = ListenerSettings(name="public", bind=listener.bind, server_names=listener.server_names)
    assert listener == same
    assert listener.server_names[0].alpn == ("http/1.1",)
    (backend,) = configuration.backends
    assert backend == BackendSettings(name="app", servers=backend.servers)
    assert configuration.http == HttpSettings()
    assert configuration.logging == LoggingSettings()
    assert configuration.processes.fronts == 1
    assert configuration.processes.workers == len(os.sched_getaffinity(0))
    assert configuration.processes.drain_timeout_s == DRAIN_TIMEOUT_S
    assert configuration.processes.stuck_timeout_s == STUCK_TIMEOUT_S
    assert str(configuration.admin.listen) == "127.0.0.1:9180"
    assert configuration.admin.socket == "/run/vestibule/admin.sock"


def test_the_file_above_has_every_section() -> None:
    sections = {line.partition(":")[0] for line in EVERYTHING.splitlines() if line[0].isalpha()}
    assert sections == set(ConfigurationFile.__dataclass_fields__)
