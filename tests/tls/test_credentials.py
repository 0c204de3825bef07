"""Certificates and keys: what is prepared, and which pairs are refused."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from proxy.tls import Credential, Misuse, PrivateKeySigner, Secret
from proxy.wire import SignatureScheme, certificate
from tests.certs import ThrowAwayCa, new_key
from tests.tls.material import CERTIFICATE_KINDS, NAME, authority, issued

SCHEME = SignatureScheme


def load(cert_pem: bytes, key_pem: bytes) -> Credential:
    return Credential.from_pem(cert_pem, Secret(key_pem))


@pytest.mark.parametrize(
    ("kind", "schemes"),
    [
        ("ecdsa-p256", (SCHEME.ECDSA_SECP256R1_SHA256,)),
        ("ecdsa-p384", (SCHEME.ECDSA_SECP384R1_SHA384,)),
        ("ed25519", (SCHEME.ED25519,)),
        (
            "rsa-2048",
            (SCHEME.RSA_PSS_RSAE_SHA256, SCHEME.RSA_PSS_RSAE_SHA384, SCHEME.RSA_PSS_RSAE_SHA512),
        ),
    ],
)
def test_schemes_of_a_key(kind: str, schemes: tuple[SignatureScheme, ...]) -> None:
    assert tuple(PrivateKeySigner(new_key(kind)).schemes) == schemes


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505  # the point
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
        "no key",
    ],
    ids=lambda key: type(key).__name__,
)
def test_key_that_is_not_served(key: object) -> None:
    with pytest.raises(Misuse, match="private key is not"):
        PrivateKeySigner(key)


@pytest.mark.parametrize("kind", CERTIFICATE_KINDS)
def test_message_holds_the_chain(kind: str) -> None:
    middle = ThrowAwayCa("root").intermediate()
    pair = middle.issue([NAME], key=kind)
    chain = x509.load_pem_x509_certificates(pair.cert_pem)
    assert len(chain) == 2
    prepared = load(pair.cert_pem, pair.key_pem)
    assert prepared.message == certificate([one.public_bytes(Encoding.DER) for one in chain])
    assert prepared.chain_schemes == {SCHEME.ECDSA_SECP256R1_SHA256}


def test_self_signed_certificate_is_not_counted() -> None:
    root = ThrowAwayCa("root", key="rsa-2048")
    pair = root.issue([NAME])
    prepared = load(pair.cert_pem + root.pem, pair.key_pem)
    assert prepared.chain_schemes == {SCHEME.RSA_PKCS1_SHA256}
    alone = ThrowAwayCa("alone", key="ecdsa-p256")
    key = alone._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert load(alone.pem, key).chain_schemes == frozenset()


def test_key_of_another_certificate_is_refused() -> None:
    with pytest.raises(Misuse, match="does not belong"):
        load(issued().cert_pem, authority().issue([NAME]).key_pem)
    with pytest.raises(Misuse, match="does not belong"):
        load(issued("rsa-2048").cert_pem, issued("ed25519").key_pem)


@pytest.mark.parametrize("cert_pem", [b"", b"no PEM"])
def test_no_certificate(cert_pem: bytes) -> None:
    with pytest.raises(ValueError, match="PEM"):
        load(cert_pem, issued().key_pem)
