"""The policy in one place: a change to it is a change to this test, on purpose."""

from proxy.tls import defaults
from proxy.wire import CipherSuite, NamedGroup

GOLDEN = {
    "CCS_LIMIT": 32,
    "COOKIE_LIFETIME_S": 10.0,
    "DATA_PER_KEY_UPDATE": 1024,
    "EARLY_DATA_LIMIT": 16_896,
    "EMPTY_RECORDS_IN_A_ROW": 32,
    "GROUPS": (
        NamedGroup.X25519MLKEM768,
        NamedGroup.X25519,
        NamedGroup.SECP256R1,
        NamedGroup.SECP384R1,
    ),
    "HANDSHAKE_MESSAGE_LIMIT": 5,
    "HELLO_LIMIT": 131_400,
    "KEY_UPDATES_WITHOUT_DATA": 32,
    "RECORDS_PER_KEY": 16_777_216,
    "SUITES": (
        CipherSuite.TLS_AES_128_GCM_SHA256,
        CipherSuite.TLS_AES_256_GCM_SHA384,
        CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
    ),
}


def test_nothing_changed() -> None:
    found = {name: value for name, value in vars(defaults).items() if name.isupper()}
    assert found == GOLDEN
    assert sorted(defaults.__all__) == sorted(GOLDEN)
