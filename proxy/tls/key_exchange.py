"""The server's half of each group's key exchange (RFC 8446, Section 4.2.8.2).

Ephemeral keys are made for one handshake and dropped with it.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    SECP384R1,
    EllipticCurve,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.tls.errors import PeerMisbehaved, Reason
from proxy.wire import NamedGroup

__all__ = ["SHARE_SIZES", "KeyAgreement", "agree"]

_MLKEM_KEY: Final = 1184  # FIPS 203, Table 3: ML-KEM-768 encapsulation key
_X25519_KEY: Final = 32

# RFC 8446, Section 4.2.8.2 (uncompressed points); draft-ietf-tls-ecdhe-mlkem, Section 4.1.
SHARE_SIZES: Final = {
    NamedGroup.X25519MLKEM768: _MLKEM_KEY + _X25519_KEY,
    NamedGroup.X25519: _X25519_KEY,
    NamedGroup.SECP256R1: 65,
    NamedGroup.SECP384R1: 97,
}


class KeyAgreement(NamedTuple):
    """Our key share and the secret both sides now have."""

    share: bytes
    secret: bytes

    def __repr__(self) -> str:
        return "KeyAgreement(...)"


def _x25519(client_share: bytes) -> KeyAgreement:
    private = X25519PrivateKey.generate()
    # RFC 8446, Section 7.4.2: the all-zero result MUST be refused; exchange() raises ValueError.
    secret = private.exchange(X25519PublicKey.from_public_bytes(client_share))
    return KeyAgreement(private.public_key().public_bytes_raw(), secret)


def _nist(curve: EllipticCurve) -> Callable[[bytes], KeyAgreement]:
    def exchange(client_share: bytes) -> KeyAgreement:
        # RFC 8446, Section 4.2.8.2: only uncompressed points, which their size says already, and
        # which MUST be on the curve: ValueError.
        peer = EllipticCurvePublicKey.from_encoded_point(curve, client_share)
        private = generate_private_key(curve)
        share = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return KeyAgreement(share, private.exchange(ECDH(), peer))

    return exchange


def _x25519_mlkem768(client_share: bytes) -> KeyAgreement:
    # draft-ietf-tls-ecdhe-mlkem, Section 4: the ML-KEM part comes first, in share and secret.
    mlkem = MLKEM768PublicKey.from_public_bytes(client_share[:_MLKEM_KEY])
    secret, ciphertext = mlkem.encapsulate()
    ecdh = _x25519(client_share[_MLKEM_KEY:])
    return KeyAgreement(ciphertext + ecdh.share, secret + ecdh.secret)


_EXCHANGES: Final[dict[int, Callable[[bytes], KeyAgreement]]] = {
    NamedGroup.X25519MLKEM768: _x25519_mlkem768,
    NamedGroup.X25519: _x25519,
    NamedGroup.SECP256R1: _nist(SECP256R1()),
    NamedGroup.SECP384R1: _nist(SECP384R1()),
}


def agree(group: NamedGroup, client_share: bytes) -> KeyAgreement:
    """Answer the client's share; a share that is no valid public key is illegal_parameter."""
    if len(client_share) != SHARE_SIZES[group]:
        raise PeerMisbehaved(Reason.BAD_KEY_SHARE)
    try:
        return _EXCHANGES[group](client_share)
    except ValueError:
        raise PeerMisbehaved(Reason.BAD_KEY_SHARE) from None
