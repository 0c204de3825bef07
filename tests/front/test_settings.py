"""How the front's settings are written where people read them."""

from __future__ import annotations

import pytest

from proxy.front import BindAddress, CertificateMaterial, Family
from proxy.tls import Secret


@pytest.mark.parametrize(
    ("family", "host", "port", "text"),
    [
        (Family.INET, "0.0.0.0", 8443, "0.0.0.0:8443"),
        (Family.INET6, "::", 8443, "[::]:8443"),
        (Family.UNIX, "/run/vestibule/public.sock", 0, "unix:/run/vestibule/public.sock"),
    ],
)
def test_an_address_is_written_as_the_configuration_has_it(
    family: Family, host: str, port: int, text: str
) -> None:
    assert str(BindAddress(family=family, host=host, port=port)) == text


def test_a_certificate_never_shows_its_key() -> None:
    key = b"-----BEGIN PRIVATE KEY-----"
    material = CertificateMaterial(chain_pem=b"", key=Secret(key), source="a.pem", not_after_s=0)
    assert "PRIVATE" not in f"{material!r}{material}"
