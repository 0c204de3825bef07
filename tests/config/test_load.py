"""Transcripts: one line of a good file is replaced, and all that is said about it is listed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.config import ConfigError, load
from tests.config.site import BASE, Site, authority, in_days, replaced

AT_NAME = "listeners[0].server_names[0]"
AT_ADDRESS = 'expected an address as "IPV4:PORT", "[IPV6]:PORT" or "unix:PATH", found'
AT_SERVER = "expected a server as https://HOST[:PORT] or http://HOST[:PORT], found"
NETWORK = 'a network as "192.0.2.0/24" or "2001:db8::/32"'
ONLY_REQUESTS = "nothing after it: paths come from the request"

# Number of the line, what stands there instead, what is wrong.
CASES: list[tuple[int, str, list[str]]] = [
    # YAML
    (
        16,
        '    servers: ["https://10.0.0.5]',
        ["17:1: expected valid YAML; found unexpected end of stream"],
    ),
    (
        4,
        "    answer: direct\n    answer: direct",
        [
            "5:5: listeners[0].answer: expected each key once,"
            ' found "answer" again (first on line 4)'
        ],
    ),
    (
        16,
        '    servers: ["https://10.0.0.5"]\nadmin: !!map {}',
        ['17:8: admin: expected no tag, found "tag:yaml.org,2002:map"'],
    ),
    (
        16,
        '    servers: ["https://10.0.0.5"]\n<<: {}',
        ['17:1: ["<<"]: expected no merge key; write the keys out'],
    ),
    (
        16,
        "    servers: [*server]",
        ['16:15: expected an alias to an anchor that stands before it, found "*server"'],
    ),
    # Keys
    (
        2,
        "  - nmae: public",
        [
            "2:5: listeners[0].name: expected this key, which is required",
            '2:5: listeners[0].nmae: expected a known key; did you mean "name"?',
        ],
    ),
    (
        2,
        "  - name: public\n    colour: red",
        [
            "3:5: listeners[0].colour: expected a known key;"
            " known: answer, backlog, bind, dual_stack, name, server_names, tls"
        ],
    ),
    (
        14,
        "Backends:",
        [
            "1:1: backends: expected this key, which is required",
            '14:1: Backends: expected a known key; did you mean "backends"?',
        ],
    ),
    (
        15,
        '  "a b":',
        [
            '15:3: backends["a b"]: expected a name of at most 64 letters, digits,'
            " '-', '_' and '.'"
        ],
    ),
    # Types and bounds
    (2, "  - name: [public]", ["2:11: listeners[0].name: expected text, found a list"]),
    (3, "    bind: []", ["3:11: listeners[0].bind: expected at least one, found none"]),
    (3, "    bind: 127.0.0.1:8443", ["3:11: listeners[0].bind: expected a list, found text"]),
    (3, "    bind:", ["3:10: listeners[0].bind: expected a list, found nothing"]),
    (
        7,
        "        default: yes",
        [f'7:18: {AT_NAME}.default: expected true or false, found "yes"'],
    ),
    (
        16,
        '    servers: ["https://10.0.0.5"]\n    timeouts:',
        [
            "17:14: backends.app.timeouts: expected a mapping, found nothing;"
            " leave the key out for its default"
        ],
    ),
    (
        16,
        '    servers: ["https://10.0.0.5"]\n'
        "    timeouts: {connect_s: 0, read_s: '5', write_s: 1e999}",
        [
            "17:27: backends.app.timeouts.connect_s: expected more than 0, found 0",
            '17:38: backends.app.timeouts.read_s: expected a number, found "5"',
            '17:52: backends.app.timeouts.write_s: expected a number, found "1e999"',
        ],
    ),
    (
        16,
        '    servers: ["https://10.0.0.5"]\n'
        "limits: {hello_bytes: 64KB, head_bytes: 0, half_open: 1.5, fields: true}",
        [
            "17:23: limits.hello_bytes: expected bytes as a whole number, or with KiB, MiB or GiB"
            ' like "64KiB", found "64KB"',
            "17:41: limits.head_bytes: expected at least 1, found 0",
            "17:55: limits.half_open: expected a whole number, found 1.5",
            "17:68: limits.fields: expected a whole number, found true",
        ],
    ),
    (
        16,
        '    servers: ["https://10.0.0.5"]\nprocesses: {workers: 0, fronts: 257}',
        [
            '17:22: processes.workers: expected "auto" or a whole number from 1 to 256, found 0',
            "17:33: processes.fronts: expected at most 256, found 257",
        ],
    ),
    (
        16,
        '    servers: ["https://10.0.0.5"]\nlogging: {access: none, level: INFO}',
        [
            '17:19: logging.access: expected "json", "combined" or "off", found "none"',
            '17:32: logging.level: expected "debug", "info", "warning" or "error", found "INFO"',
        ],
    ),
    (
        16,
        '    servers: ["https://10.0.0.5"]\n'
        "pressure: {half_open: 0, lag_s: 0, abandoned_share: 1.5, calm_s: 86401}\n"
        "sources: {half_open_limit: 0, exempt: 10.0.0.0/8}",
        [
            "17:23: pressure.half_open: expected at least 1, found 0",
            "17:33: pressure.lag_s: expected more than 0, found 0",
            "17:53: pressure.abandoned_share: expected at most 1, found 1.5",
            "17:66: pressure.calm_s: expected at most 86400, found 86401",
            "18:28: sources.half_open_limit: expected at least 1, found 0",
            "18:39: sources.exempt: expected a list, found text",
        ],
    ),
    # Forms
    (
        16,
        '    servers: ["https://10.0.0.5"]\n'
        'sources: {half_open_limit: 1, exempt: [office, "10.0.0.1/8", "2001:db8::1"]}',
        [
            f'17:40: sources.exempt[0]: expected {NETWORK}, found "office"',
            "17:48: sources.exempt[1]: expected a network's first address,"
            ' found "10.0.0.1/8"; did you mean "10.0.0.0/8"?',
            "17:62: sources.exempt[2]: expected an IPv6 network of /64 or larger,"
            ' found "2001:db8::1"; a source is a whole /64',
        ],
    ),
    (
        16,
        '    servers: ["https://10.0.0.5"]\nprocesses: {keyless_user: no such user}',
        [
            "17:27: processes.keyless_user: expected null, or `answer: retry` in every listener,"
            ' found "no such user"; listeners[0] has `answer: adaptive`',
            "17:27: processes.keyless_user: expected the name of a user of this system,"
            ' found "no such user"',
        ],
    ),
    (
        4,
        "    answer: auto",
        ['4:13: listeners[0].answer: expected "direct", "retry" or "adaptive", found "auto"'],
    ),
    (
        4,
        '    tls: {versions: ["1.3", "1.2"]}',
        [
            '4:29: listeners[0].tls.versions[1]: expected "1.3", found "1.2";'
            " TLS 1.2 comes with a later release"
        ],
    ),
    (
        3,
        '    bind: ["localhost:8443", "127.0.0.1", "127.0.0.1:0", "::1:1", "[::1]", "unix:"]',
        [
            f'3:12: listeners[0].bind[0]: {AT_ADDRESS} "localhost:8443";'
            " names are not looked up for listening",
            f'3:30: listeners[0].bind[1]: {AT_ADDRESS} "127.0.0.1"',
            '3:43: listeners[0].bind[2]: expected a port from 1 to 65535, found "127.0.0.1:0"',
            f'3:58: listeners[0].bind[3]: {AT_ADDRESS} "::1:1";'
            ' IPv6 addresses stand in brackets: "[::1:1]"',
            f'3:67: listeners[0].bind[4]: {AT_ADDRESS} "[::1]"',
            '3:76: listeners[0].bind[5]: expected a path, found "unix:"',
        ],
    ),
    (
        6,
        '      - names: ["*", "w*.example.org", "a b.org", 10.0.0.1, müller.example]',
        [
            f'6:17: {AT_NAME}.names[0]: expected a host name, found "*";'
            " for all other names use `default: true`",
            f"6:22: {AT_NAME}.names[1]: expected a wildcard only as the whole first label,"
            ' like *.example.org, found "w*.example.org"',
            f'6:40: {AT_NAME}.names[2]: expected a host name such as example.org, found "a b.org"',
            f'6:51: {AT_NAME}.names[3]: expected a host name, not an address, found "10.0.0.1"',
            f"6:61: {AT_NAME}.names[4]: expected a host name in ASCII,"
            ' found "müller.example"; write it in its xn-- form',
        ],
    ),
    (
        16,
        '    servers: [10.0.0.5, "https://a/", "https://a/x", "ftp://a", "https://a:b"]',
        [
            f'16:15: backends.app.servers[0]: {AT_SERVER} "10.0.0.5"',
            f'16:25: backends.app.servers[1]: {AT_SERVER} "https://a/"; {ONLY_REQUESTS}',
            f'16:39: backends.app.servers[2]: {AT_SERVER} "https://a/x"; {ONLY_REQUESTS}',
            f'16:54: backends.app.servers[3]: {AT_SERVER} "ftp://a"',
            '16:65: backends.app.servers[4]: expected a port from 1 to 65535, found "https://a:b"',
        ],
    ),
    (
        12,
        "          - path_prefix: api",
        [
            f'12:26: {AT_NAME}.routes[0].path_prefix: expected a path that begins with "/",'
            ' found "api"'
        ],
    ),
    # What must fit together
    (
        13,
        "            backend: ap",
        [
            f'13:22: {AT_NAME}.routes[0].backend: expected the name of a backend, found "ap";'
            ' did you mean "app"?'
        ],
    ),
    (
        3,
        '    bind: ["127.0.0.1:8443", "127.0.0.1:8443"]',
        [
            '3:30: listeners[0].bind[1]: expected an address of its own, found "127.0.0.1:8443";'
            " listeners[0].bind[0] has it already"
        ],
    ),
    (
        3,
        '    bind: ["127.0.0.1:9180"]',
        [
            '3:12: listeners[0].bind[0]: expected an address of its own, found "127.0.0.1:9180";'
            " admin.listen has it already"
        ],
    ),
    (
        6,
        "      - names: [example.org, Example.ORG]",
        [
            f"6:30: {AT_NAME}.names[1]: expected a name once in a listener,"
            f' found "example.org"; {AT_NAME}.names[0] has it already'
        ],
    ),
    (
        11,
        "        tcp: {backend: app}\n        routes:",
        [f"6:9: {AT_NAME}: expected either `routes` or `tcp`, found both"],
    ),
    # Files
    (
        9,
        "          - cert_file: missing.pem",
        [
            f"9:24: {AT_NAME}.certificates[0].cert_file: expected a readable file,"
            ' found "missing.pem": No such file or directory'
        ],
    ),
    (
        9,
        "          - cert_file: other.pem",
        [
            f"10:23: {AT_NAME}.certificates[0].key_file: expected the private key of the"
            ' certificate in "other.pem", found another key'
        ],
    ),
    (
        10,
        "            key_file: example.org.key\n            key_passphrase: hunter2",
        [f"11:29: {AT_NAME}.certificates[0].key_passphrase: expected a mapping, found text"],
    ),
    # Several at once: what is wrong with one key does not hide another's
    (
        16,
        '    server: ["https://10.0.0.5"]',
        [
            "16:5: backends.app.servers: expected this key, which is required",
            '16:5: backends.app.server: expected a known key; did you mean "servers"?',
        ],
    ),
    (
        13,
        "            backend: ap\n            backend: app\n            bakcend: app\n"
        "timeouts: {hello_s: 0}",
        [
            f'13:22: {AT_NAME}.routes[0].backend: expected the name of a backend, found "ap";'
            ' did you mean "app"?',
            f"14:13: {AT_NAME}.routes[0].backend: expected each key once,"
            ' found "backend" again (first on line 13)',
            f'15:13: {AT_NAME}.routes[0].bakcend: expected a known key; did you mean "backend"?',
            "16:21: timeouts.hello_s: expected more than 0, found 0",
        ],
    ),
]


def test_a_good_file_loads_without_a_remark(site: Site) -> None:
    assert site.cautions(BASE) == []


@pytest.mark.parametrize(
    ("number", "line", "expected"), CASES, ids=[f"{line.strip():.40}" for _, line, _ in CASES]
)
def test_what_is_said_about_an_error(
    site: Site, number: int, line: str, expected: list[str]
) -> None:
    site.certificate("other", authority().issue(["example.org"], not_after=in_days(60)))
    assert site.problems(replaced(number, line)) == expected


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        load("/nowhere/vestibule.yaml")
    assert str(caught.value) == (
        "/nowhere/vestibule.yaml: expected a readable file,"
        ' found "/nowhere/vestibule.yaml": No such file or directory'
    )


@pytest.mark.parametrize("path", ["", ".", "/", "/dev/null"])
def test_what_is_no_regular_file_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="expected a regular file"):
        load(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: expected a mapping, found nothing"),
        ("[]", "1:1: expected a mapping, found a list"),
        ("listeners", "1:1: expected a mapping, found text"),
        ("{}", "1:1: listeners: expected this key, which is required"),
    ],
)
def test_a_file_without_keys(site: Site, text: str, problem: str) -> None:
    assert site.problems(text)[0] == problem


def test_the_error_carries_the_first_problems_place_and_the_cautions(site: Site) -> None:
    (site.directory / "example.org.key").chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        site.load(replaced(13, "            backend: ap"))
    error = caught.value
    assert (error.file, error.line, error.column) == (str(site.path), 13, 22)
    assert error.key == f"{AT_NAME}.routes[0].backend"
    assert error.expected == "the name of a backend"
    assert [caution.line for caution in error.cautions] == [10, 15]


def test_files_are_what_a_change_of_is_worth_a_reload(site: Site) -> None:
    files = site.load(BASE).files
    names = ["site.yaml", "example.org.pem", "example.org.key"]
    assert files == tuple(site.directory / name for name in names)


def test_paths_count_from_the_configuration_not_from_the_working_directory(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.path.write_text(replaced(3, '    bind: ["unix:public.sock"]'))
    monkeypatch.chdir(site.directory.parent)
    configuration = load(Path(site.directory.name) / "site.yaml")
    assert configuration.path == site.path
    assert configuration.front.listeners[0].bind[0].host == str(site.directory / "public.sock")


WORDS = """
    listeners backends app name bind server_names names default tcp certificates cert_file key_file
    key_passphrase env routes backend servers tls timeouts connect_s limits hello_bytes admin
"""
KEYS = st.sampled_from(WORDS.split())
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["app", "example.org", "*.example.org", "127.0.0.1:8443", "https://a", "/"]),
    st.sampled_from(["example.org.pem", "example.org.key", ".", "/dev/zero", "..", "64KiB"]),
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner)
)
FRAGMENTS = st.lists(
    st.sampled_from([*"[]{}:,-?&*!|>'\"%@`#\t\n \\", "&a", "*a", "- ", ": ", "\n  ", '"\\ud800"'])
    | st.sampled_from(['"\\U00110000"', "<<: ", "--- ", "...\n", "!!int ", "%YAML 1.2\n", "\ufeff"])
    | st.text(max_size=3)
).map("".join)
MUTATED = st.builds(
    lambda start, length, text: BASE[:start] + text + BASE[start + length :],
    st.integers(0, len(BASE)),
    st.integers(0, 30),
    FRAGMENTS,
)
TEXTS = TREES.map(lambda tree: yaml.safe_dump(tree, allow_unicode=True)) | FRAGMENTS | MUTATED


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary())
@example(content=b"a: " + b"9" * 5000)
@example(content=b"%YAML 1." + b"9" * 5000 + b"\n--- a")
@example(content=b"[" * 5000)
@example(content=b'"\\ud800": "\\ud800"')
def test_any_bytes_give_a_configuration_or_problems(site: Site, content: bytes) -> None:
    site.path.write_bytes(content)
    try:
        load(site.path)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.expected
            assert problem.line >= 1
            assert problem.column >= 1
