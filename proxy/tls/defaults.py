"""Policy and limits of the engine, each with its reason. A golden snapshot guards this file."""

from typing import Final

from proxy.wire import CipherSuite, NamedGroup

__all__ = [
    "CCS_LIMIT",
    "COOKIE_LIFETIME_S",
    "DATA_PER_KEY_UPDATE",
    "EARLY_DATA_LIMIT",
    "EMPTY_RECORDS_IN_A_ROW",
    "GROUPS",
    "HANDSHAKE_MESSAGE_LIMIT",
    "HELLO_LIMIT",
    "KEY_UPDATES_WITHOUT_DATA",
    "RECORDS_PER_KEY",
    "SUITES",
]

# Server order; by default the client's order decides among these (REQUIREMENTS of proxies differ;
# a client without AES hardware puts ChaCha20 first, and it knows best).
SUITES: Final = (
    CipherSuite.TLS_AES_128_GCM_SHA256,
    CipherSuite.TLS_AES_256_GCM_SHA384,
    CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
)
# Post-quantum first: recorded traffic is to stay secret. Then by cost.
GROUPS: Final = (
    NamedGroup.X25519MLKEM768,
    NamedGroup.X25519,
    NamedGroup.SECP256R1,
    NamedGroup.SECP384R1,
)

# Over all records, with the header: the longest that the message's fields allow, so that none that
# is legal is refused (RFC 8446, Section 4.1.2). OpenSSL has the same bound.
HELLO_LIMIT: Final = 131_400
# Post-handshake messages from a client are KeyUpdate only, one byte long.
HANDSHAKE_MESSAGE_LIMIT: Final = 4 + 1
# OpenSSL's and BoringSSL's servers default to 16 KiB of 0-RTT; a client may have been promised
# as much by the server that stood here before.
EARLY_DATA_LIMIT: Final = 16 * 1024 + 512
# RFC 8446, Section 5, has them dropped without a number. A client sends one, and one more after a
# HelloRetryRequest; rustls has a bound too, and who sends dozens means something else.
CCS_LIMIT: Final = 32
# BoringSSL's kMaxKeyUpdates and kMaxEmptyRecords.
KEY_UPDATES_WITHOUT_DATA: Final = 32
# Bytes of data that pay for one: its key schedule costs as much as they do, and a peer that updates
# after every byte would make a quarter of a second of one full read.
DATA_PER_KEY_UPDATE: Final = 1024
EMPTY_RECORDS_IN_A_ROW: Final = 32
# RFC 8446, Section 5.5: 2^24.5 full-size AES-GCM records; a whole power of two below.
RECORDS_PER_KEY: Final = 1 << 24
# A cookie is worth as long as a client may take for its second hello.
COOKIE_LIFETIME_S: Final = 10.0
