"""Registries are open: a number that we do not act on keeps its value and prints as hex."""

from enum import IntEnum

import pytest

from proxy.wire import CipherSuite, ClientHello, NamedGroup, SignatureScheme, name_of
from tests.tls.hello import hello


@pytest.mark.parametrize(
    ("registry", "value", "name"),
    [
        (CipherSuite, 0x1301, "TLS_AES_128_GCM_SHA256"),
        (CipherSuite, 0x1304, "0x1304"),
        (NamedGroup, 0x11EC, "X25519MLKEM768"),
        (NamedGroup, 0x0A0A, "0x0a0a"),
        (SignatureScheme, 0x0807, "ED25519"),
    ],
)
def test_names(registry: type[IntEnum], value: int, name: str) -> None:
    assert name_of(registry, value) == name


def test_unknown_numbers_survive_decoding() -> None:
    made = hello(
        suites=[0x0A0A, 0x1301],
        groups=[0xFAFA, 0x001D],
        schemes=[0x0403, 0xFEFE],
        versions=[0x1A1A, 0x0304],
        extra=[(0x2A2A, b"\0"), (0xFE0D, b"opaque")],
    )
    decoded = ClientHello.decode(made.encode())
    assert decoded.cipher_suites == (0x0A0A, 0x1301)
    assert decoded.supported_groups == (0xFAFA, 0x001D)
    assert decoded.signature_algorithms == (0x0403, 0xFEFE)
    assert decoded.supported_versions == (0x1A1A, 0x0304)
    assert decoded.extensions[0x2A2A] == b"\0"
    assert decoded.extensions[0xFE0D] == b"opaque"
