"""What must exist, be unique, or exclude each other; and what is only cautioned."""

from __future__ import annotations

import pwd

import pytest

from tests.config.site import BASE, Site, replaced

NAME = "listeners[0].server_names"
SECOND_LISTENER = """\
  - name: {name}
    bind: [{bind}]
    server_names:
      - names: [example.org]
        certificates: [{{cert_file: example.org.pem, key_file: example.org.key}}]
        routes: [{{backend: app}}]
"""


def with_second_listener(name: str = "internal", bind: str = '"127.0.0.1:9443"') -> str:
    second = SECOND_LISTENER.format(name=name, bind=bind)
    return BASE.replace("backends:", f"{second}backends:")


def with_second_entry(keys: str) -> str:
    certificates = "certificates: [{cert_file: example.org.pem, key_file: example.org.key}]"
    return BASE.replace("backends:", f"      - {{{keys}, {certificates}}}\nbackends:")


def with_tail(tail: str) -> str:
    return BASE + tail


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        # Two listeners may serve the same name, at addresses of their own.
        (with_second_listener(), []),
        (
            with_second_listener(name="public"),
            [
                '14:11: listeners[1].name: expected a name of its own, found "public";'
                " listeners[0].name has it already"
            ],
        ),
        (
            with_second_listener(bind='"127.0.0.1:8443"'),
            [
                "15:12: listeners[1].bind[0]: expected an address of its own,"
                ' found "127.0.0.1:8443"; listeners[0].bind[0] has it already'
            ],
        ),
        (
            with_second_listener(bind='"unix:/run/vestibule/admin.sock"'),
            [
                "15:12: listeners[1].bind[0]: expected an address of its own,"
                ' found "unix:/run/vestibule/admin.sock"; admin.socket has it already'
            ],
        ),
        (replaced(3, '    bind: ["0.0.0.0:8443", "[::]:8443"]'), []),
        (
            replaced(3, '    bind: ["0.0.0.0:8443", "[::]:8443"]\n    dual_stack: true'),
            [
                '3:28: listeners[0].bind[1]: expected an address of its own, found "0.0.0.0:8443";'
                " listeners[0].bind[0] has it already"
            ],
        ),
        (
            with_second_entry("names: [a.org], default: true, tcp: {backend: app}"),
            [
                f"14:35: {NAME}[1].default: expected at most one default in a listener,"
                f" found another; {NAME}[0] is it already"
            ],
        ),
        (
            with_second_entry("names: ['*.a.org', example.org], tcp: {backend: app}"),
            [
                f"14:29: {NAME}[1].names[1]: expected a name once in a listener,"
                f' found "example.org"; {NAME}[0].names[0] has it already'
            ],
        ),
        (
            with_second_entry("tcp: {backend: app}"),
            [f"14:9: {NAME}[1].names: expected at least one name, or `default: true`"],
        ),
        (
            with_second_entry("names: [a.org]"),
            [f"14:9: {NAME}[1]: expected either `routes` or `tcp`, found neither"],
        ),
        (
            with_second_entry("names: [a.org], tcp: {backend: elsewhere}"),
            [
                f"14:41: {NAME}[1].tcp.backend: expected the name of a backend,"
                ' found "elsewhere"; known: app'
            ],
        ),
        (
            with_second_entry("names: [a.org], alpn: [http/1.1, h2], routes: [{backend: app}]"),
            [f'14:43: {NAME}[1].alpn[1]: expected "http/1.1" with routes, found "h2"'],
        ),
        (with_second_entry("names: [a.org], alpn: [smtp], tcp: {backend: app}"), []),
        (
            with_second_entry("names: [a.org], routes: []"),
            [f"14:34: {NAME}[1].routes: expected at least one route"],
        ),
        (
            replaced(13, "            backend: app\n          - {host: Example.org, backend: app}"),
            [
                f"14:13: {NAME}[0].routes[1]: expected each host and path_prefix once,"
                f' found "example.org/"; {NAME}[0].routes[0] has it already'
            ],
        ),
        (
            replaced(16, '    servers: ["https://a", "https://A:443", "http://a"]'),
            [
                '16:28: backends.app.servers[1]: expected each server once, found "https://a:443";'
                " backends.app.servers[0] has it already"
            ],
        ),
        (
            with_tail("    failures: {set_aside_s: 10, set_aside_max_s: 5}\n"),
            [
                "17:50: backends.app.failures.set_aside_max_s:"
                " expected at least set_aside_s, which is 10, found 5"
            ],
        ),
    ],
)
def test_problems(site: Site, text: str, problems: list[str]) -> None:
    assert site.problems(text) == problems


@pytest.mark.parametrize(
    ("text", "cautions"),
    [
        (with_second_listener(), []),
        (
            with_tail('  spare:\n    servers: ["https://10.0.0.6"]\n'),
            ["17:3: backends.spare: no route leads to this backend"],
        ),
        (
            with_tail("    tls: {verify: false}\n"),
            [
                "17:19: backends.app.tls.verify: not verified:"
                " whoever is on the path can be this backend"
            ],
        ),
        (
            BASE.replace("https://", "http://") + "    tls: {verify: false}\n",
            [],
        ),
    ],
)
def test_cautions(site: Site, text: str, cautions: list[str]) -> None:
    assert site.cautions(text) == cautions


@pytest.mark.parametrize(
    ("names", "host", "reachable"),
    [
        ("example.org", "'*'", True),
        ("example.org", "example.org", True),
        ("example.org", "www.example.org", False),
        ("'*.example.org'", "www.example.org", True),
        ("'*.example.org'", "a.b.example.org", False),
        ("www.example.org", "'*.example.org'", True),
        ("'*.example.org'", "'*.example.org'", True),
        ("example.org", "'*.example.org'", False),
    ],
)
def test_a_route_that_nobody_can_ask_for_is_cautioned(
    site: Site, names: str, host: str, reachable: bool
) -> None:
    text = replaced(12, f"          - host: {host}", replaced(6, f"      - names: [{names}]"))
    assert site.cautions(text.replace("default: true", "default: false")) == (
        []
        if reachable
        else [
            f"12:13: {NAME}[0].routes[0]: clients come here for {names.strip(chr(39))},"
            f" not for {host.strip(chr(39))}"
        ]
    )
    assert site.cautions(text) == []


def test_a_sockets_path_has_the_kernels_limit_once_it_is_whole(site: Site) -> None:
    name = "s" * 100
    problems = site.problems(replaced(3, f'    bind: ["unix:{name}"]'))
    assert problems == [
        f'3:12: listeners[0].bind[0]: expected a path of at most 107 bytes, found "{name}";'
        " the kernel takes no longer one"
    ]
    longest = 107 - len(f"{site.directory}/")
    assert site.problems(replaced(3, f'    bind: ["unix:{"s" * longest}"]')) == []


RETRY = replaced(4, "    answer: retry")
USER = next(each.pw_name for each in pwd.getpwall() if each.pw_uid != 0)
KEYLESS = f"processes: {{keyless_user: {USER}}}\n"
HOLDS_KEYS = (
    "17:27: processes.keyless_user: expected null, or `answer: retry` in every listener,"
    f' found "{USER}"; listeners[{{}}] has `answer: {{}}`'
)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (RETRY + KEYLESS, []),
        (BASE + "processes: {keyless_user: null}\n", []),
        (BASE + KEYLESS, [HOLDS_KEYS.format(0, "adaptive")]),
        (RETRY.replace("retry", "direct") + KEYLESS, [HOLDS_KEYS.format(0, "direct")]),
        # One that says nothing is adaptive.
        (
            with_second_listener().replace("answer: adaptive", "answer: retry") + KEYLESS,
            [HOLDS_KEYS.format(1, "adaptive").replace("17:", "23:")],
        ),
    ],
)
def test_only_fronts_without_keys_run_as_another_user(
    site: Site, text: str, problems: list[str]
) -> None:
    assert site.problems(text) == problems


def test_an_exemption_from_no_limit_is_cautioned(site: Site) -> None:
    exempt = "exempt: [10.0.0.0/8]"
    assert site.cautions(BASE + f"sources: {{{exempt}, half_open_limit: 8}}\n") == []
    assert site.cautions(BASE + f"sources: {{{exempt}}}\n") == [
        "17:19: sources.exempt: without half_open_limit there is no limit"
    ]


def test_entries_are_counted_as_far_as_a_connection_can_tell(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.config.references._ENTRIES_MAX", 1)
    entry = "names: [two.example.org], tcp: {backend: app}"
    assert site.problems(with_second_entry(entry)) == [
        "2:3: listeners: expected at most 1 entries of server_names, found 2;"
        " give one entry more names",
    ]
