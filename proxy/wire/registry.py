"""Code points of the IANA TLS registries that this project acts on.

The registries are open: a number the peer sends that is not listed here survives decoding as a
plain ``int`` and prints as hex. Only values that are *ours to choose* become members.
"""

from enum import IntEnum

__all__ = [
    "AlertDescription",
    "CipherSuite",
    "ContentType",
    "ExtensionType",
    "HandshakeType",
    "KeyUpdateRequest",
    "NamedGroup",
    "ProtocolVersion",
    "SignatureScheme",
    "name_of",
]


class ContentType(IntEnum):
    """RFC 8446, Section 5.1."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23


class HandshakeType(IntEnum):
    """RFC 8446, Section 4."""

    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    NEW_SESSION_TICKET = 4
    END_OF_EARLY_DATA = 5
    ENCRYPTED_EXTENSIONS = 8
    CERTIFICATE = 11
    CERTIFICATE_REQUEST = 13
    CERTIFICATE_VERIFY = 15
    FINISHED = 20
    KEY_UPDATE = 24
    MESSAGE_HASH = 254


class ExtensionType(IntEnum):
    """RFC 8446, Section 4.2."""

    SERVER_NAME = 0
    SUPPORTED_GROUPS = 10
    SIGNATURE_ALGORITHMS = 13
    APPLICATION_LAYER_PROTOCOL_NEGOTIATION = 16
    PADDING = 21  # RFC 7685
    PRE_SHARED_KEY = 41
    EARLY_DATA = 42
    SUPPORTED_VERSIONS = 43
    COOKIE = 44
    PSK_KEY_EXCHANGE_MODES = 45
    SIGNATURE_ALGORITHMS_CERT = 50
    KEY_SHARE = 51


class ProtocolVersion(IntEnum):
    """RFC 8446, Section 4.1.2 and Appendix D."""

    SSL_3_0 = 0x0300
    TLS_1_0 = 0x0301
    TLS_1_2 = 0x0303
    TLS_1_3 = 0x0304


class CipherSuite(IntEnum):
    """RFC 8446, Appendix B.4."""

    TLS_AES_128_GCM_SHA256 = 0x1301
    TLS_AES_256_GCM_SHA384 = 0x1302
    TLS_CHACHA20_POLY1305_SHA256 = 0x1303


class NamedGroup(IntEnum):
    """RFC 8446, Section 4.2.7; the hybrid: draft-ietf-tls-ecdhe-mlkem."""

    SECP256R1 = 0x0017
    SECP384R1 = 0x0018
    X25519 = 0x001D
    X25519MLKEM768 = 0x11EC


class SignatureScheme(IntEnum):
    """RFC 8446, Section 4.2.3."""

    RSA_PKCS1_SHA256 = 0x0401
    RSA_PKCS1_SHA384 = 0x0501
    RSA_PKCS1_SHA512 = 0x0601
    ECDSA_SECP256R1_SHA256 = 0x0403
    ECDSA_SECP384R1_SHA384 = 0x0503
    ECDSA_SECP521R1_SHA512 = 0x0603
    RSA_PSS_RSAE_SHA256 = 0x0804
    RSA_PSS_RSAE_SHA384 = 0x0805
    RSA_PSS_RSAE_SHA512 = 0x0806
    ED25519 = 0x0807
    RSA_PSS_PSS_SHA256 = 0x0809
    RSA_PSS_PSS_SHA384 = 0x080A
    RSA_PSS_PSS_SHA512 = 0x080B


class KeyUpdateRequest(IntEnum):
    """RFC 8446, Section 4.6.3."""

    UPDATE_NOT_REQUESTED = 0
    UPDATE_REQUESTED = 1


class AlertDescription(IntEnum):
    """RFC 8446, Section 6, and RFC 7301, Section 3.2."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    ILLEGAL_PARAMETER = 47
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INTERNAL_ERROR = 80
    USER_CANCELED = 90
    MISSING_EXTENSION = 109
    UNRECOGNIZED_NAME = 112
    NO_APPLICATION_PROTOCOL = 120


def name_of(registry: type[IntEnum], value: int) -> str:
    """The registry's name of ``value``, or its number in hex where we have none."""
    try:
        return registry(value).name
    except ValueError:
        return f"0x{value:04x}"
