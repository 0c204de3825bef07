"""The table of metric families keeps the rules that Prometheus and we have for names."""

from __future__ import annotations

import pytest

from proxy.telemetry import FAMILIES, Family, Kind, Merge

UNITS = ("_seconds", "_bytes", "_fds", "_ratio")


def names() -> list[str]:
    return [family.name for family in FAMILIES]


def test_no_name_is_used_twice() -> None:
    assert len(set(names())) == len(names())


@pytest.mark.parametrize("family", FAMILIES, ids=names())
def test_a_family_is_well_formed(family: Family) -> None:
    assert family.name.startswith("vestibule_")
    assert family.name.isascii()
    assert family.name == family.name.lower()
    assert family.name.endswith("_total") is (family.kind is Kind.COUNTER)
    assert family.help.endswith(".")
    assert len(set(family.labels)) == len(family.labels)
    assert not {"le", "quantile", "instance", "job"} & set(family.labels), "Prometheus' own"
    assert family.limit >= 1
    assert family.kind is Kind.GAUGE or family.merge is Merge.SUM


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.kind is Kind.HISTOGRAM])
def test_a_histogram_has_ascending_buckets_and_a_unit(family: Family) -> None:
    assert family.name.endswith(UNITS)
    assert list(family.buckets) == sorted(set(family.buckets))
    assert family.buckets


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.kind is not Kind.HISTOGRAM])
def test_nothing_else_has_buckets(family: Family) -> None:
    assert family.buckets == ()


def test_what_operators_were_promised_exists() -> None:
    promised = {
        "vestibule_handshakes_half_open": (),
        "vestibule_handshakes_half_open_bytes": (),
        "vestibule_handshakes_half_open_oldest_age_seconds": (),
        "vestibule_hellos_total": ("answer", "version"),
        "vestibule_handoffs_total": ("result",),
        "vestibule_handoff_seconds": (),
        "vestibule_handshakes_total": ("version", "suite", "group", "resumed"),
        "vestibule_handshake_failures_total": ("stage", "alert", "reason"),
        "vestibule_reaped_total": ("store",),
        "vestibule_accept_errors_total": ("reason",),
        "vestibule_connections_open": ("role",),
        "vestibule_connections_total": ("listener",),
        "vestibule_requests_total": ("backend", "method", "status"),
        "vestibule_request_seconds": ("backend",),
        "vestibule_backend_connects_total": ("backend", "result"),
        "vestibule_backend_up": ("backend", "server"),
        "vestibule_certificate_expiry_timestamp_seconds": ("listener", "name"),
        "vestibule_configuration_generation": (),
        "vestibule_process_restarts_total": ("role",),
    }
    known = {family.name: family.labels for family in FAMILIES}
    assert promised.items() <= known.items()
