"""The written forms of single values, and what each function says of the others."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import values
from proxy.config.errors import Unfit
from proxy.front import BindAddress, Family
from proxy.upstream import ServerAddress


@pytest.mark.parametrize(
    ("written", "size"),
    [(7, 7), ("64KiB", 65536), ("1 MiB", 1 << 20), ("2GiB", 2 << 30), ("0KiB", 0)],
)
def test_sizes(written: object, size: int) -> None:
    assert values.size_bytes(written) == size


@pytest.mark.parametrize("written", ["7", "64KB", "64k", "-1KiB", "1.5MiB", "", True, None, 1.5])
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(Unfit, match="64KiB"):
        values.size_bytes(written)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("example.org", "example.org"),
        ("EXAMPLE.Org", "example.org"),
        ("localhost", "localhost"),
        ("xn--mller-kva.example", "xn--mller-kva.example"),
        ("my_service", "my_service"),
        ("1.example", "1.example"),
        ("a" * 63 + ".org", "a" * 63 + ".org"),
        ("*.example.org", "*.example.org"),
    ],
)
def test_server_names(written: str, name: str) -> None:
    assert values.server_name(written) == name


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            ".",
            "example.org.",
            "a..b",
            "-a.org",
            "a-.org",
            "a b",
            "a" * 64 + ".org",
            "müller.org",
        ),
        *("10.0.0.1", "::1", "a.1", "*", "*.", "*.*.org", "a*.org", "a.*.org", "x." * 127 + "org"),
    ],
)
def test_what_is_no_server_name(written: str) -> None:
    with pytest.raises(Unfit):
        values.server_name(written)


@pytest.mark.parametrize(
    ("written", "family", "host", "port"),
    [
        ("0.0.0.0:8443", Family.INET, "0.0.0.0", 8443),
        ("[::]:443", Family.INET6, "::", 443),
        ("[2001:DB8::0:1]:1", Family.INET6, "2001:db8::1", 1),
        ("unix:/run/a.sock", Family.UNIX, "/run/a.sock", 0),
        ("unix:a.sock", Family.UNIX, "a.sock", 0),
    ],
)
def test_bind_addresses(written: str, family: Family, host: str, port: int) -> None:
    address = values.bind_address(written)
    assert address == BindAddress(family=family, host=host, port=port)


@pytest.mark.parametrize(
    "written",
    [
        *("", ":443", "443", "localhost:443", "10.0.0.1", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:0"),
        *(
            "10.0.0.1:65536",
            "10.0.0.1:+1",
            "::1:443",
            "[::1]",
            "[::1]:",
            "[::1]x:1",
            "[::1",
            "[]:1",
        ),
        *("[10.0.0.1]:1", "unix:", "unix:\0", 443, None),
    ],
)
def test_what_is_no_bind_address(written: object) -> None:
    with pytest.raises(Unfit):
        values.bind_address(written)


def test_the_admin_address_is_tcp() -> None:
    assert str(values.tcp_address("[::1]:9180")) == "[::1]:9180"
    with pytest.raises(Unfit) as caught:
        values.tcp_address("unix:/run/admin.sock")
    assert caught.value.hint == "a UNIX path goes to `socket`"


@pytest.mark.parametrize(
    ("written", "scheme", "host", "port"),
    [
        ("https://10.0.0.5", "https", "10.0.0.5", 443),
        ("http://Backend.Example", "http", "backend.example", 80),
        ("https://[2001:db8::1]:8443", "https", "2001:db8::1", 8443),
        ("http://my_service:8080", "http", "my_service", 8080),
    ],
)
def test_servers(written: str, scheme: str, host: str, port: int) -> None:
    server = values.server_url(written)
    assert (server.scheme, server.host, server.port) == (scheme, host, port)
    # Upstream reads what we accept in the same way.
    assert ServerAddress.parse(written) == server


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "a",
            "//a",
            "https:a",
            "https://",
            "HTTPS://a",
            "ftp://a",
            "http+unix://a",
            "https://a/",
        ),
        *(
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://u:p@a",
            "https://a:0",
            "https://a:b",
        ),
        *(
            "https://:443",
            "https://::1",
            "https://[::1",
            "https://[::1]443",
            "https://a b",
            None,
            7,
        ),
        *("https://256.0.0.1", "http://unix:/run/app.sock"),
    ],
)
def test_what_is_no_server(written: object) -> None:
    with pytest.raises(Unfit):
        values.server_url(written)


@pytest.mark.parametrize("written", ["/", "/api", "/api/", "/.well-known/", "/a;b", "/é"])
def test_path_prefixes(written: str) -> None:
    assert values.path_prefix(written) == written


@pytest.mark.parametrize(
    "written", ["", "api", "/a b", "/a?b", "/a#b", "/a%20", "//", "/a//b", "/./a", "/a/..", "/\n"]
)
def test_what_is_no_path_prefix(written: str) -> None:
    with pytest.raises(Unfit, match='a path that begins with "/"'):
        values.path_prefix(written)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (values.label, ["a", "a.b-c_d", "9"], ["", "-a", "a b", "é", "a" * 65]),
        (values.host_pattern, ["*", "*.a.org", "a.org"], ["", "**", "a b"]),
        (values.application_protocol, ["h2", "http/1.1", "a" * 255], ["", "é", "a" * 256, "\n"]),
        (values.token, ["vestibule", "a/1".replace("/", "-")], ["", "a b", "a/b", "é"]),
        (values.file_path, ["a", "/a", "."], ["", "a\0"]),
        (values.environment_name, ["KEY", "é"], ["", "A=B", "\0"]),
    ],
)
def test_short_texts(check: object, good: list[str], bad: list[str]) -> None:
    assert callable(check)
    for text in good:
        assert check(text) == text
    for text in bad:
        with pytest.raises(Unfit):
            check(text)


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8:0:1::/64", "2001:db8:0:1::/64"),
        ("::/0", "::/0"),
    ],
)
def test_networks_of_sources(written: str, network: str) -> None:
    assert values.source_network(written) == ip_network(network)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("office", "a network as"),
        ("", "a network as"),
        ("10.0.0.0/33", "a network as"),
        ("10.0.0.0/", "a network as"),
        ("/8", "a network as"),
        ("fe80::%eth0/64", "a network as"),
        (8, "a network as"),
        (None, "a network as"),
        ("10.0.0.1/8", "first address"),
        ("2001:db8::1/32", "first address"),
        ("2001:db8::/65", "/64 or larger"),
        ("::ffff:10.0.0.0/104", "/64 or larger"),
    ],
)
def test_what_is_no_network_of_sources(written: object, said: str) -> None:
    with pytest.raises(Unfit, match=said) as caught:
        values.source_network(written)
    assert ("IPv4" in caught.value.hint) is ("ffff" in str(written))


def test_workers_are_counted_or_auto() -> None:
    assert [values.worker_count(value) for value in ("auto", 1, 256)] == ["auto", 1, 256]
    for value in (0, 257, True, "2", None, 1.0):
        with pytest.raises(Unfit):
            values.worker_count(value)


@given(text=st.text())
def test_any_text_is_a_value_or_unfit(text: str) -> None:
    for check in (
        *(values.size_bytes, values.label, values.server_name, values.bind_address),
        *(
            values.source_network,
            values.server_url,
            values.path_prefix,
            values.application_protocol,
            values.token,
        ),
    ):
        try:
            check(text)
        except Unfit as error:
            assert error.expected
