"""Bytes <-> values of the TLS wire format: no cryptography, no I/O, no state.

What is remembered of earlier hellos saves time and changes no result.
"""

from proxy.wire.client_hello import ClientHello
from proxy.wire.codec import Reader, u8_vector, u16_vector, u24_vector
from proxy.wire.errors import DecodeError, TlsError
from proxy.wire.extensions import KeyShareEntry, decode_extensions
from proxy.wire.messages import (
    HELLO_RETRY_REQUEST_RANDOM,
    certificate,
    certificate_verify,
    encrypted_extensions,
    extension,
    finished,
    handshake,
    hello_retry_request,
    key_update,
    message_hash,
    server_hello,
)
from proxy.wire.record import (
    HEADER_SIZE,
    MAX_CIPHERTEXT,
    MAX_PLAINTEXT,
    alert_message,
    alert_record,
    change_cipher_spec_record,
    plaintext_records,
)
from proxy.wire.registry import (
    AlertDescription,
    CipherSuite,
    ContentType,
    ExtensionType,
    HandshakeType,
    KeyUpdateRequest,
    NamedGroup,
    ProtocolVersion,
    SignatureScheme,
    name_of,
)

__all__ = [
    "HEADER_SIZE",
    "HELLO_RETRY_REQUEST_RANDOM",
    "MAX_CIPHERTEXT",
    "MAX_PLAINTEXT",
    "AlertDescription",
    "CipherSuite",
    "ClientHello",
    "ContentType",
    "DecodeError",
    "ExtensionType",
    "HandshakeType",
    "KeyShareEntry",
    "KeyUpdateRequest",
    "NamedGroup",
    "ProtocolVersion",
    "Reader",
    "SignatureScheme",
    "TlsError",
    "alert_message",
    "alert_record",
    "certificate",
    "certificate_verify",
    "change_cipher_spec_record",
    "decode_extensions",
    "encrypted_extensions",
    "extension",
    "finished",
    "handshake",
    "hello_retry_request",
    "key_update",
    "message_hash",
    "name_of",
    "plaintext_records",
    "server_hello",
    "u8_vector",
    "u16_vector",
    "u24_vector",
]
