"""Routes: the most specific host, then the longest prefix, then 404."""

from __future__ import annotations

import pytest

from proxy.http.errors import RequestRefused
from proxy.http.routes import Route, RouteTable
from proxy.upstream import Backend, BackendSettings, ServerAddress


def backend(name: str) -> Backend:
    return Backend(BackendSettings(name=name, servers=(ServerAddress.parse("http://192.0.2.1"),)))


def table(*routes: tuple[str, str]) -> RouteTable:
    """Backends are called after their routes: host, then prefix."""
    return RouteTable(
        Route(host=host, path_prefix=prefix, backend=backend(host + prefix))
        for host, prefix in routes
    )


def chosen(routes: RouteTable, host: bytes | None, form: bytes) -> str | None:
    route = routes.match(host, form)
    return None if route is None else route.backend.settings.name


HOSTS = table(
    ("*", "/"),
    ("example.org", "/"),
    ("*.example.org", "/"),
    ("*.b.example.org", "/"),
    ("[2001:db8::1]", "/"),
)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"example.org", "example.org/"),
        (b"a.example.org", "*.example.org/"),
        (b"a.c.example.org", "*.example.org/"),
        (b"a.b.example.org", "*.b.example.org/"),
        (b"b.example.org", "*.example.org/"),
        (b"anexample.org", "*/"),
        (b"[2001:db8::1]", "[2001:db8::1]/"),
        (b"other", "*/"),
        (None, "*/"),
    ],
)
def test_the_most_specific_host_wins(host: bytes | None, expected: str) -> None:
    assert chosen(HOSTS, host, b"/") == expected


PATHS = table(("*", "/api"), ("*", "/"), ("*", "/api/v2/"), ("*", "/\u00e9"))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (b"/", "*/"),
        (b"/api", "*/api"),
        (b"/api?x", "*/api"),
        (b"/api/", "*/api"),
        (b"/api/v1", "*/api"),
        (b"/apiary", "*/"),
        (b"/api/v2", "*/api/v2/"),
        (b"/api/v2/x", "*/api/v2/"),
        (b"/api/v22", "*/api"),
        (b"/%61pi", "*/api"),
        (b"/x/../api", "*/api"),
        (b"/%C3%A9/x", "*/\u00e9"),
        (b"/api/a%2Fb", "*/api"),
        (b"*", "*/"),
    ],
)
def test_the_longest_prefix_at_a_segment_boundary_wins(form: bytes, expected: str) -> None:
    assert chosen(PATHS, b"a", form) == expected


def test_a_host_with_routes_does_not_fall_back_to_another_hosts() -> None:
    routes = table(("example.org", "/only"), ("*", "/"))
    assert chosen(routes, b"example.org", b"/other") is None
    assert chosen(routes, b"other", b"/other") == "*/"
    assert chosen(table(("example.org", "/")), b"other", b"/") is None
    assert chosen(table(("example.org", "/")), None, b"/") is None


@pytest.mark.parametrize(
    "form",
    [
        b"/open/..%2fadmin",
        b"/admin/..%2fopen",
        b"//admin",
        b"/admin%2Fx",
        b"/open//../admin",
        b"/admin;x/y",
        b"/admin%3bx",
        b"/;x/admin",
        b"/open\\..\\admin",
        b"/open%5c..%5Cadmin",
        b"/x\\..;y\\admin",
    ],
)
def test_a_path_whose_route_depends_on_its_reader_is_refused(form: bytes) -> None:
    routes = table(("*", "/open"), ("*", "/admin"), ("*", "/"))
    with pytest.raises(RequestRefused, match="ambiguous_path") as caught:
        routes.match(b"a", form)
    assert caught.value.status == 400


@pytest.mark.parametrize("form", [b"/open/a;b=c", b"/open/a\\b", b"/x;open"])
def test_a_path_with_several_readings_and_one_route_is_served(form: bytes) -> None:
    routes = table(("*", "/open"), ("*", "/"))
    assert chosen(routes, b"a", form) == ("*/open" if b"/open/" in form else "*/")


@pytest.mark.parametrize(
    ("host", "prefix"),
    [
        ("", "/"),
        ("a b", "/"),
        ("*.*", "/"),
        ("a:80", "/"),
        ("\u00e9.org", "/"),
        ("*", ""),
        ("*", "api"),
        ("*", "/a/../b"),
        ("*", "/a//b"),
        ("*", "/a%20b"),
        ("*", "/.."),
        ("*", "/a?b"),
    ],
)
def test_a_malformed_route_is_refused(host: str, prefix: str) -> None:
    with pytest.raises(ValueError, match=r"not a host name|no port|not a plain absolute path"):
        table((host, prefix))


def test_the_same_route_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        table(("a.org", "/x"), ("A.org", "/x/"))
