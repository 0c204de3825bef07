"""Targets, hosts and the ways a path may be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.errors import RequestRefused
from proxy.http.target import Target, host_name, parse_target, readings


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (b"GET", b"/", Target(b"/", None)),
        (b"GET", b"/a/../b?c=/d", Target(b"/a/../b?c=/d", None)),
        (b"GET", b"//a", Target(b"//a", None)),
        (b"GET", b"/a|b\\{}", Target(b"/a|b\\{}", None)),
        (b"OPTIONS", b"*", Target(b"*", None)),
        (b"GET", b"http://a", Target(b"/", b"a")),
        (b"GET", b"HTTPS://a:1/b", Target(b"/b", b"a:1")),
        (b"GET", b"http://a?b", Target(b"/?b", b"a")),
        (b"OPTIONS", b"http://a", Target(b"*", b"a")),
    ],
)
def test_the_forms_of_a_target(method: bytes, target: bytes, expected: Target) -> None:
    assert parse_target(method, target) == expected


@pytest.mark.parametrize(
    "target", [b"*", b"a", b"ftp://a/", b"/#f", b"/\xff", b"", b"?x", b"a:443"]
)
def test_what_is_no_target(target: bytes) -> None:
    with pytest.raises(RequestRefused) as caught:
        parse_target(b"GET", target)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"Example.ORG", b"example.org"),
        (b"example.org.:443", b"example.org"),
        (b"a_b-c", b"a_b-c"),
        (b"192.0.2.1:80", b"192.0.2.1"),
        (b"[2001:DB8::0:1]:443", b"[2001:db8::1]"),
    ],
)
def test_the_host_of_an_authority(authority: bytes, host: bytes) -> None:
    assert host_name(authority) == host


@pytest.mark.parametrize(
    "authority",
    [
        b"",
        b":80",
        b".",
        b"a..b",
        b".a",
        b"a b",
        b"a@b",
        b"a:b",
        b"a:",
        b"a:65536",
        b"a:080000",
        b"[::1",
        b"[::g]",
        b"[1.2.3.4]",
        b"::1",
        b"a/b",
        b"a%2e",
        b"a\xff",
        b"a\n",
        b"a" * 300,
    ],
)
def test_what_is_no_authority(authority: bytes) -> None:
    with pytest.raises(RequestRefused, match="bad_host"):
        host_name(authority)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (b"/a/b", (b"/a/b",)),
        (b"/a?x=%2e%zz//", (b"/a",)),
        (b"*", (b"/",)),
        (b"/%61", (b"/a", b"/a")),
        (b"/a/./b/../c", (b"/a/c", b"/a/c")),
        (b"/a/..", (b"/", b"/")),
        (b"/a/.", (b"/a/", b"/a/")),
        (b"/a/%2e%2E/b", (b"/b", b"/b")),
        (b"//a", (b"/a", b"//a")),
        (b"/a//b/", (b"/a/b/", b"/a//b/")),
        (b"/a%2fb", (b"/a/b", b"/a%2Fb")),
        (b"/a/..%2Fb", (b"/b", b"/a/..%2Fb")),
        (b"/.well-known/x", (b"/.well-known/x", b"/.well-known/x")),
        (b"/...", (b"/...", b"/...")),
        (b"/a%252fb", (b"/a%2fb", b"/a%2fb")),
        (b"/a;b=c/d", (b"/a;b=c/d", b"/a;b=c/d", b"/a/d")),
        (b"/a%5C..\\b", (b"/a\\..\\b", b"/a\\..\\b", b"/b")),
    ],
)
def test_the_readings_of_a_path(form: bytes, expected: tuple[bytes, ...]) -> None:
    assert readings(form) == expected


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (b"/..", "path_above_root"),
        (b"/a/../../b", "path_above_root"),
        (b"/%2e%2e/", "path_above_root"),
        (b"/a/..%2f..%2f..", "path_above_root"),
        (b"/%", "bad_escape"),
        (b"/%4", "bad_escape"),
        (b"/%gg", "bad_escape"),
        (b"/a%00", "bad_escape"),
        (b"/a/..;/b", "hidden_dot_segment"),
        (b"/a/.;x", "hidden_dot_segment"),
        (b"/a\\..\\..\\b", "path_above_root"),
    ],
)
def test_paths_that_hide_where_they_lead(form: bytes, reason: str) -> None:
    with pytest.raises(RequestRefused, match=reason) as caught:
        readings(form)
    assert caught.value.status == 400


@given(form=st.text(alphabet="/.%2fFeEa;?\\", max_size=16).map(lambda text: b"/" + text.encode()))
def test_a_reading_never_holds_a_dot_segment(form: bytes) -> None:
    try:
        paths = readings(form)
    except RequestRefused:
        return
    for path in paths:
        assert path.startswith(b"/")
        assert not {b".", b".."} & set(path.split(b"/"))
