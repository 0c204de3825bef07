"""A throw-away certificate authority: tests never use certificate files that can expire.

Owns keys and certificates made for one test run. What it issues satisfies strict verifiers
(RFC 5280: SAN, key identifiers, key usage), so that a refusal in a test has the reason that
the test names and no other.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Files:
    """Where a certificate chain and its key were written."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Issued:
    """A leaf with its key; `cert_pem` is the chain to send: leaf first, the root left out."""

    cert_pem: bytes
    key_pem: bytes

    def write(self, directory: Path, name: str = "server") -> Files:
        """Write `<name>.pem` and `<name>.key` into the directory."""
        files = Files(directory / f"{name}.pem", directory / f"{name}.key")
        files.cert.write_bytes(self.cert_pem)
        files.key.write_bytes(self.key_pem)
        files.key.chmod(0o600)
        return files


class ThrowAwayCa:
    """A root (or, by `intermediate`, a subordinate) authority that lives in memory."""

    def __init__(
        self,
        name: str = "throw-away CA",
        *,
        key: str = "ecdsa-p256",
        issuer: ThrowAwayCa | None = None,
    ) -> None:
        self._key = new_key(key)
        self._issuer = issuer
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer or self
        builder = _builder(subject, issuer.certificate.subject if issuer else subject, self._key)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(_usage(authority=True), critical=True)
        if issuer is not None:
            builder = builder.add_extension(_authority_key(issuer), critical=False)
        self.certificate: x509.Certificate = builder.sign(signer._key, _hash(signer._key))

    @property
    def pem(self) -> bytes:
        """The authority's own certificate: what a client is told to trust."""
        return self.certificate.public_bytes(Encoding.PEM)

    def intermediate(self, name: str = "throw-away intermediate CA") -> ThrowAwayCa:
        """An authority below this one; what it issues carries its certificate in the chain."""
        return ThrowAwayCa(name, issuer=self)

    def write(self, directory: Path, name: str = "ca") -> Path:
        """Write the authority's certificate as `<name>.pem` and return its path."""
        path = directory / f"{name}.pem"
        path.write_bytes(self.pem)
        return path

    def issue(
        self,
        names: Sequence[str],
        *,
        key: str = "ecdsa-p256",
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        usage: x509.ObjectIdentifier = SERVER,
    ) -> Issued:
        """Issue a leaf for DNS names (wildcards too) and IP addresses.

        `key` is one of ecdsa-p256, ecdsa-p384, rsa-2048, ed25519. Without times the leaf is
        valid from an hour ago for a week.
        """
        leaf_key = new_key(key)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        builder = _builder(subject, self.certificate.subject, leaf_key, not_before, not_after)
        for extension, critical in (
            (x509.BasicConstraints(False, None), True),
            (_usage(authority=False), True),
            (x509.ExtendedKeyUsage([usage]), False),
            (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
            (_authority_key(self), False),
        ):
            builder = builder.add_extension(extension, critical)
        leaf = builder.sign(self._key, _hash(self._key))
        chain = leaf.public_bytes(Encoding.PEM)
        authority: ThrowAwayCa = self
        while authority._issuer is not None:
            chain += authority.pem
            authority = authority._issuer
        return Issued(chain, _key_pem(leaf_key))


def new_key(kind: str) -> PrivateKey:
    """A fresh private key of the kind, as `ThrowAwayCa.issue` names them."""
    match kind:
        case "ecdsa-p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ecdsa-p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa-2048":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            raise ValueError(f"no such kind of key: {kind}")


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before or now - timedelta(hours=1))
        .not_valid_after(not_after or now + timedelta(days=7))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _authority_key(authority: ThrowAwayCa) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.certificate.public_key())  # type: ignore[arg-type]


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _hash(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
