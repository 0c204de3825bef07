"""The report of `vestibule check`."""

from __future__ import annotations

import pwd
from datetime import UTC, datetime

from proxy.config import check
from tests.config.site import BASE, Site, authority, replaced
from tests.config.test_build import EVERYTHING


def test_a_good_file(site: Site) -> None:
    authority().write(site.directory)
    site.path.write_text(EVERYTHING.replace("{verify: false,", "{ca_file: ca.pem,"))
    report = check(site.path)
    assert report.ok
    assert report.problems == ()
    (certificate,) = site.load(BASE).front.listeners[0].server_names[0].certificates
    end = datetime.fromtimestamp(certificate.not_after_s, UTC)
    shown = (
        f"    certificate {site.directory}/example.org.pem, valid until {end:%Y-%m-%d %H:%M} UTC"
    )
    assert report.summary == (
        "processes: 2 front(s), 3 worker(s)",
        f"listener public: 127.0.0.1:8443, unix:{site.directory}/public.sock (direct)",
        "  example.org, *.example.org",
        shown,
        "    www.example.org/api -> app",
        "    */ -> app",
        "listener internal: 127.0.0.1:9443 (adaptive)",
        "  (default)",
        shown,
        "    tcp -> app",
        "  a.org",
        shown,
        "    tcp -> app",
        "backend app: https://10.0.0.5:443, http://app.example.org:8080"
        " (verified by its own authorities)",
        f"admin: listen off, socket {site.directory}/run/admin.sock",
    )
    assert [line.partition(":")[0] for line in report.lines()[len(report.summary) :]] == [
        "warning"
    ] * len(report.cautions)


def test_how_backends_are_trusted(site: Site) -> None:
    trust = {
        BASE: "backend app: https://10.0.0.5:443 (verified by the system's authorities)",
        f"{BASE}    tls: {{verify: false}}\n": "backend app: https://10.0.0.5:443 (not verified)",
        BASE.replace("https:", "http:"): "backend app: http://10.0.0.5:80",
    }
    for text, line in trust.items():
        site.path.write_text(text)
        assert line in check(site.path).summary


def test_whom_fronts_run_as(site: Site) -> None:
    user = next(each.pw_name for each in pwd.getpwall() if each.pw_uid != 0)
    text = replaced(4, "    answer: retry")
    site.path.write_text(f"{text}processes: {{keyless_user: {user}, workers: 2}}\n")
    assert check(site.path).summary[0] == f"processes: 1 front(s) as {user}, 2 worker(s)"


def test_a_bad_file(site: Site) -> None:
    (site.directory / "example.org.key").chmod(0o644)
    site.path.write_text(replaced(13, "            backend: ap"))
    report = check(site.path)
    assert not report.ok
    assert report.summary == ()
    assert [line.partition(f" {site.path}:")[::2] for line in report.lines()] == [
        (
            "error:",
            "13:22: listeners[0].server_names[0].routes[0].backend:"
            ' expected the name of a backend, found "ap"; did you mean "app"?',
        ),
        (
            "warning:",
            '10:23: listeners[0].server_names[0].certificates[0].key_file: "example.org.key":'
            " every user of this machine can read it; chmod o-r",
        ),
        ("warning:", "15:3: backends.app: no route leads to this backend"),
    ]


def test_a_missing_file(site: Site) -> None:
    (line,) = check(site.path).lines()
    assert line.startswith(f"error: {site.path}: expected a readable file")
