"""A certificate chain with its key, prepared once: nothing of it is encoded per handshake."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import PublicKeyAlgorithmOID

from proxy.tls.errors import Misuse
from proxy.tls.ports import Signer
from proxy.tls.secret import Secret
from proxy.wire import SignatureScheme, certificate

__all__ = ["Credential", "PrivateKeySigner"]

_Digest = Callable[[bytes], "hashlib._Hash"]

_ECDSA: Final[dict[str, tuple[SignatureScheme, _Digest, ec.ECDSA]]] = {
    # RFC 8446, Section 4.2.3: each curve is bound to its hash.
    "secp256r1": (
        SignatureScheme.ECDSA_SECP256R1_SHA256,
        hashlib.sha256,
        ec.ECDSA(Prehashed(hashes.SHA256())),
    ),
    "secp384r1": (
        SignatureScheme.ECDSA_SECP384R1_SHA384,
        hashlib.sha384,
        ec.ECDSA(Prehashed(hashes.SHA384())),
    ),
}
_PSS: Final[dict[SignatureScheme, hashes.HashAlgorithm]] = {
    SignatureScheme.RSA_PSS_RSAE_SHA256: hashes.SHA256(),
    SignatureScheme.RSA_PSS_RSAE_SHA384: hashes.SHA384(),
    SignatureScheme.RSA_PSS_RSAE_SHA512: hashes.SHA512(),
}
_MINIMUM_RSA_BITS: Final = 2048  # NIST SP 800-131A: less is disallowed

_PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
_Sign = Callable[[bytes], bytes]


class PrivateKeySigner:
    """A ``Signer`` over a private key held in this process."""

    __slots__ = ("_key", "_signs", "schemes")

    def __init__(self, key: object) -> None:
        """``Misuse`` where the key is of a kind that TLS 1.3 servers cannot use here."""
        self._signs: dict[SignatureScheme, _Sign]
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _ECDSA:
            self._signs = _ecdsa(key)
        elif isinstance(key, ed25519.Ed25519PrivateKey):
            self._signs = {SignatureScheme.ED25519: key.sign}
        elif isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _MINIMUM_RSA_BITS:
            self._signs = {scheme: partial(_sign_pss, key, scheme) for scheme in _PSS}
        else:
            raise Misuse("private key is not ECDSA P-256 or P-384, Ed25519 or RSA >= 2048 bits")
        self._key: _PrivateKey = key
        self.schemes: Sequence[SignatureScheme] = tuple(self._signs)

    @property
    def public_key(self) -> PublicKeyTypes:
        """The other half, to be compared with a certificate's."""
        return self._key.public_key()

    def sign(self, scheme: SignatureScheme, message: bytes) -> bytes:
        """Sign; the scheme is one of ``schemes``."""
        return self._signs[scheme](message)


def _ecdsa(key: ec.EllipticCurvePrivateKey) -> dict[SignatureScheme, _Sign]:
    scheme, digest, prehashed = _ECDSA[key.curve.name]

    def sign(message: bytes) -> bytes:
        # Hashed by hashlib, which takes a microsecond less, of the 22 that P-256 takes.
        return key.sign(digest(message).digest(), prehashed)

    return {scheme: sign}


def _sign_pss(key: rsa.RSAPrivateKey, scheme: SignatureScheme, message: bytes) -> bytes:
    algorithm = _PSS[scheme]
    # RFC 8446, Section 4.2.3: the salt is as long as the digest.
    return key.sign(message, padding.PSS(padding.MGF1(algorithm), algorithm.digest_size), algorithm)


_CHAIN_SCHEMES: Final[dict[tuple[str, str], SignatureScheme]] = {
    ("1.2.840.10045.4.3.2", "sha256"): SignatureScheme.ECDSA_SECP256R1_SHA256,
    ("1.2.840.10045.4.3.3", "sha384"): SignatureScheme.ECDSA_SECP384R1_SHA384,
    ("1.2.840.10045.4.3.4", "sha512"): SignatureScheme.ECDSA_SECP521R1_SHA512,
    ("1.2.840.113549.1.1.11", "sha256"): SignatureScheme.RSA_PKCS1_SHA256,
    ("1.2.840.113549.1.1.12", "sha384"): SignatureScheme.RSA_PKCS1_SHA384,
    ("1.2.840.113549.1.1.13", "sha512"): SignatureScheme.RSA_PKCS1_SHA512,
    ("1.2.840.113549.1.1.10", "sha256"): SignatureScheme.RSA_PSS_RSAE_SHA256,
    ("1.2.840.113549.1.1.10", "sha384"): SignatureScheme.RSA_PSS_RSAE_SHA384,
    ("1.2.840.113549.1.1.10", "sha512"): SignatureScheme.RSA_PSS_RSAE_SHA512,
    ("1.3.101.112", ""): SignatureScheme.ED25519,
}


@dataclass(frozen=True, slots=True)
class Credential:
    """What authenticates us under one or more names.

    ``message`` is the whole Certificate message. ``chain_schemes`` are the schemes that the
    chain's certificates are signed with, less the self-signed one, which nobody verifies
    (RFC 8446, Section 4.4.2.2); an unknown algorithm counts as none.
    """

    message: bytes
    signer: Signer
    chain_schemes: frozenset[SignatureScheme | None]

    @classmethod
    def from_pem(cls, chain_pem: bytes, key_pem: Secret) -> "Credential":
        """Of a PEM chain, leaf first, and the leaf's unencrypted PEM key.

        ``Misuse`` where the two are no pair or of a kind that is not served.
        """
        chain = x509.load_pem_x509_certificates(chain_pem)
        signer = PrivateKeySigner(load_pem_private_key(key_pem.reveal(), password=None))
        if signer.public_key != chain[0].public_key():
            raise Misuse("private key does not belong to the certificate")
        if chain[0].public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
            # RFC 8446, Section 4.2.3: such a key signs by rsa_pss_pss_*, which few clients offer.
            raise Misuse("certificate's key is RSASSA-PSS, which is not served")
        return cls(
            certificate([one.public_bytes(Encoding.DER) for one in chain]),
            signer,
            frozenset(_chain_scheme(one) for one in chain if one.issuer != one.subject),
        )


def _chain_scheme(one: x509.Certificate) -> SignatureScheme | None:
    algorithm = one.signature_hash_algorithm
    name = "" if algorithm is None else algorithm.name
    return _CHAIN_SCHEMES.get((one.signature_algorithm_oid.dotted_string, name))
