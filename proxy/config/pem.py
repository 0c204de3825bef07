"""Certificates and keys as PEM: parsed, and checked to belong together.

Rules: pure. What cannot serve raises Unfit; what serves badly is a remark. Whether a client
will trust a chain is the client's decision, so expiry and order are remarks, as with nginx.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from proxy.config.errors import Unfit
from proxy.tls import Secret

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

EXPIRY_WARNING = timedelta(days=14)
"""ACME clients renew 30 days ahead: at half of that something does not work."""

# NIST SP 800-131A; OpenSSL's and the browsers' own floor.
_RSA_BITS = 2048
_CURVES = ("secp256r1", "secp384r1")


def load_chain(pem: bytes) -> list[x509.Certificate]:
    """All certificates of a PEM file, at least one, each with a readable key and extensions."""
    try:
        chain = x509.load_pem_x509_certificates(pem)
        for certificate in chain:
            certificate.public_key()
            _ = certificate.extensions
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise Unfit("PEM certificates", _first_sentence(error)) from None
    return chain


def load_key(pem: bytes, passphrase: Secret | None) -> PrivateKey:
    """The private key of a PEM file, of a kind that the engine signs with."""
    try:
        key = load_pem_private_key(pem, passphrase.reveal() if passphrase else None)
    except TypeError:
        if passphrase is not None:
            return load_key(pem, None)
        raise Unfit("an unencrypted private key", "or give key_passphrase") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = "" if passphrase is None else "is key_passphrase right? "
        raise Unfit("a PEM private key", hint + _first_sentence(error)) from None
    match key:
        case ec.EllipticCurvePrivateKey() if key.curve.name in _CURVES:
            return key
        case rsa.RSAPrivateKey() if key.key_size >= _RSA_BITS:
            return key
        case ed25519.Ed25519PrivateKey():
            return key
    raise Unfit(f"an ECDSA P-256 or P-384, RSA (from {_RSA_BITS} bits) or Ed25519 key")


def leaf_first(chain: Sequence[x509.Certificate], key: PrivateKey) -> list[x509.Certificate]:
    """The chain with the certificate of the key in front; Unfit if none is the key's."""
    wanted = _spki(key)
    for index, certificate in enumerate(chain):
        if _spki(certificate) == wanted:
            # RFC 8446, Section 4.4.2: the sender's certificate MUST come first.
            return [certificate, *chain[:index], *chain[index + 1 :]]
    raise Unfit("the private key of the certificate", "the two have different public keys")


def order_remarks(chain: Sequence[x509.Certificate]) -> list[str]:
    """Says if a certificate of the chain is not certified by the one after it."""
    for position, (certificate, issuer) in enumerate(pairwise(chain), start=2):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return [f"certificate {position} of the chain does not certify the one before it"]
    return []


def validity_remarks(chain: Sequence[x509.Certificate], now: datetime) -> list[str]:
    """Says which certificates of a chain are not valid now, or not for much longer."""
    remarks = []
    for certificate in chain:
        name = certificate.subject.rfc4514_string() or "the certificate"
        end = certificate.not_valid_after_utc
        if certificate.not_valid_before_utc > now:
            start = certificate.not_valid_before_utc
            remarks.append(f"{name} is not valid before {start:%Y-%m-%d %H:%M} UTC")
        elif end <= now:
            remarks.append(f"{name} expired on {end:%Y-%m-%d %H:%M} UTC")
        elif end - now < EXPIRY_WARNING:
            remarks.append(f"{name} expires on {end:%Y-%m-%d %H:%M} UTC")
    return remarks


def uncovered(leaf: x509.Certificate, names: Iterable[str]) -> list[str]:
    """The names (exact or wildcard) for which clients will not accept the certificate."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return list(names)
    covered = {name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}
    return [
        name
        for name in names
        # RFC 6125, Section 6.4.3: a wildcard stands for the whole first label and for one only.
        if name not in covered and f"*.{name.partition('.')[2]}" not in covered
    ]


def chain_pem(chain: Iterable[x509.Certificate]) -> bytes:
    """The chain as PEM without what a file has around it."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def key_pem(key: PrivateKey) -> Secret:
    """The key as unencrypted PKCS #8."""
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _spki(holder: x509.Certificate | PrivateKey) -> bytes:
    encoding = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return holder.public_key().public_bytes(*encoding)


def _first_sentence(error: Exception) -> str:
    """What the library says, without its advice and its addresses."""
    return str(error).partition(". ")[0].partition("\n")[0].rstrip(".")
