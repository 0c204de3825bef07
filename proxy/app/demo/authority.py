"""The demo's throw-away certificate authority.

Rules: the root's private key exists only in memory and ends with the call that made it, so nobody
can issue anything later under a root that a user may have trusted; leaves live for 30 days.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["CertificateFiles", "issue_demo_certificates"]

_LIFE = timedelta(days=30)
_BACKDATED = timedelta(hours=1)  # clocks differ


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate and its key are."""

    certificate: Path
    key: Path


def issue_demo_certificates(
    directory: Path, leaves: Sequence[tuple[str, Sequence[str]]]
) -> dict[str, CertificateFiles]:
    """Write `ca.pem`, and for each (file name, host names) a certificate with its key, 0600."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = _root(root_key)
    (directory / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))
    issued: dict[str, CertificateFiles] = {}
    for name, hosts in leaves:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _leaf(hosts, key, root, root_key)
        files = CertificateFiles(directory / f"{name}.pem", directory / f"{name}.key")
        files.certificate.write_bytes(leaf.public_bytes(Encoding.PEM))
        _write_secret(
            files.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        issued[name] = files
    return issued


def _root(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("Vestibule demo CA (throw-away)")
    return (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    hosts: Sequence[str],
    key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    alternatives = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    return (
        _builder(_name(hosts[0]), root.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(root_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_secret(path: Path, data: bytes) -> None:
    # Made anew: an existing file would keep its mode, and a symbolic link its target.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
