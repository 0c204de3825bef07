from __future__ import annotations

import pytest

from proxy.upstream import BackendSettings, ServerAddress

HERE = ServerAddress.parse("http://127.0.0.1:8080")


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "shown"),
    [
        ("https://10.0.0.5", "https", "10.0.0.5", 443, "https://10.0.0.5:443"),
        ("https://app.example:8443", "https", "app.example", 8443, "https://app.example:8443"),
        ("http://app.example/", "http", "app.example", 80, "http://app.example:80"),
        ("https://[2001:db8::1]:8443", "https", "2001:db8::1", 8443, "https://[2001:db8::1]:8443"),
        ("http://unix:/run/app.sock", "http", "unix:/run/app.sock", 0, "http://unix:/run/app.sock"),
    ],
)
def test_a_url_says_where(url: str, scheme: str, host: str, port: int, shown: str) -> None:
    address = ServerAddress.parse(url)
    assert (address.scheme, address.host, address.port) == (scheme, host, port)
    assert str(address) == shown
    assert ServerAddress.parse(str(address)) == address
    assert address.unix_path == ("/run/app.sock" if port == 0 else None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("10.0.0.5:443", "expected https://"),
        ("ftp://10.0.0.5", "expected https://"),
        ("https://", "expected https://"),
        ("https://:443", "expected a host"),
        ("https://app.example/path", "expected nothing after"),
        ("https://app.example?query", "expected nothing after"),
        ("https://user@app.example", "expected nothing after"),
        ("https://app.example:99999", "expected a port"),
        ("https://app.example:0", "expected a port"),
        ("https://app.example:x", "expected a port"),
        ("https://[2001:db8::1", "expected a host"),
        ("https://app example", "expected a host"),
        ("https://app.example\x00", "expected a host"),
        ("http://unix:run/app.sock", "expected an absolute path"),
    ],
)
def test_what_is_no_server_says_what_was_expected(url: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        ServerAddress.parse(url)


def test_defaults_can_be_used() -> None:
    settings = BackendSettings(name="app", servers=(HERE,))
    assert settings.tls.verify
    assert settings.connect_timeout_s == 5.0


@pytest.mark.parametrize("key", ["max_connections", "connect_timeout_s", "failures"])
def test_what_has_to_be_positive_is(key: str) -> None:
    with pytest.raises(ValueError, match=f"{key}: expected more than 0"):
        BackendSettings(name="app", servers=(HERE,), **{key: 0})  # type: ignore[arg-type]


def test_a_limit_may_be_none_at_all_but_not_less() -> None:
    BackendSettings(name="app", servers=(HERE,), max_idle=0, max_waiting=0)
    with pytest.raises(ValueError, match="max_idle: expected 0 or more"):
        BackendSettings(name="app", servers=(HERE,), max_idle=-1)


def test_a_group_without_servers_is_refused() -> None:
    with pytest.raises(ValueError, match="servers: expected at least one"):
        BackendSettings(name="app", servers=())
