"""Certificates and keys: what is read, what belongs together, what is remarked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from proxy.config import pem
from proxy.config.errors import Unfit
from proxy.tls import Secret
from tests.certs import ThrowAwayCa
from tests.config.site import authority, in_days, issued

KINDS = ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519"]


def written(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed448.Ed448PrivateKey,
    passphrase: bytes | None = None,
    form: PrivateFormat = PrivateFormat.PKCS8,
) -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, encryption)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_key_is_read_and_written_as_pkcs8(kind: str) -> None:
    made = authority().issue(["example.org"], key=kind)
    key = pem.load_key(made.key_pem, None)
    assert pem.key_pem(key).reveal() == made.key_pem
    assert pem.leaf_first(pem.load_chain(made.cert_pem), key) == pem.load_chain(made.cert_pem)


@pytest.mark.parametrize(
    "form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["pkcs8", "traditional"]
)
def test_an_encrypted_key_leaves_unencrypted(form: PrivateFormat) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    data = written(key, b"hunter2", form)
    opened = pem.load_key(data, Secret(b"hunter2"))
    assert pem.key_pem(opened).reveal() == written(key)
    with pytest.raises(Unfit) as caught:
        pem.load_key(data, None)
    assert (caught.value.expected, caught.value.hint) == (
        "an unencrypted private key",
        "or give key_passphrase",
    )
    with pytest.raises(Unfit) as caught:
        pem.load_key(data, Secret(b"guess"))
    assert caught.value.hint.startswith("is key_passphrase right? ")
    assert "guess" not in str(caught.value) + caught.value.hint


def test_a_passphrase_that_is_not_needed_does_no_harm() -> None:
    pem.load_key(issued().key_pem, Secret(b"hunter2"))


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505  refused
        ec.generate_private_key(ec.SECP521R1()),
        ed448.Ed448PrivateKey.generate(),
    ],
    ids=["rsa-1024", "p-521", "ed448"],
)
def test_keys_that_the_engine_does_not_sign_with_are_refused(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed448.Ed448PrivateKey,
) -> None:
    with pytest.raises(Unfit, match=r"ECDSA P-256 or P-384, RSA \(from 2048 bits\) or Ed25519"):
        pem.load_key(written(key), None)


@pytest.mark.parametrize("data", [b"", b"x", b"\xff" * 100, b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_pem_is_refused(data: bytes) -> None:
    with pytest.raises(Unfit, match="a PEM private key"):
        pem.load_key(data, None)
    with pytest.raises(Unfit, match="PEM certificates"):
        pem.load_chain(data)


def test_one_file_may_hold_both() -> None:
    both = issued().cert_pem + issued().key_pem
    pem.leaf_first(pem.load_chain(both), pem.load_key(both, None))


def test_a_damaged_certificate_is_refused() -> None:
    lines = issued().cert_pem.splitlines()
    lines[2] = b"A" * len(lines[2])
    with pytest.raises(Unfit, match="PEM certificates"):
        pem.load_chain(b"\n".join(lines))


def test_another_certificates_key_is_refused() -> None:
    chain = pem.load_chain(issued().cert_pem)
    other = pem.load_key(authority().issue(["example.org"]).key_pem, None)
    with pytest.raises(Unfit, match="the private key of the certificate"):
        pem.leaf_first(chain, other)


def test_the_leaf_comes_first_and_the_order_is_remarked() -> None:
    below = ThrowAwayCa().intermediate("one").intermediate("two")
    made = below.issue(["example.org"])
    key, chain = pem.load_key(made.key_pem, None), pem.load_chain(made.cert_pem)
    leaf, two, one = chain
    assert pem.order_remarks(chain) == []
    assert pem.leaf_first([two, leaf, one], key) == chain
    assert pem.order_remarks([leaf, one, two]) == [
        "certificate 2 of the chain does not certify the one before it"
    ]
    assert pem.order_remarks([leaf, two, leaf]) == [
        "certificate 3 of the chain does not certify the one before it"
    ]
    assert pem.load_chain(pem.chain_pem(chain)) == chain


def test_validity_is_remarked() -> None:
    made = authority().issue(["example.org"], not_before=in_days(1), not_after=in_days(100))
    (leaf,) = pem.load_chain(made.cert_pem)
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    second = timedelta(seconds=1)
    at = {
        start - second: f"CN=example.org is not valid before {start:%Y-%m-%d %H:%M} UTC",
        end - pem.EXPIRY_WARNING: None,
        end - pem.EXPIRY_WARNING + second: f"CN=example.org expires on {end:%Y-%m-%d %H:%M} UTC",
        end: f"CN=example.org expired on {end:%Y-%m-%d %H:%M} UTC",
    }
    for now, remark in at.items():
        assert pem.validity_remarks([leaf], now) == ([remark] if remark else [])


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (["example.org", "www.example.net", "*.example.net"], []),
        (["www.example.org"], ["www.example.org"]),
        (["example.net", "a.b.example.net"], ["example.net", "a.b.example.net"]),
        (["*.example.org"], ["*.example.org"]),
    ],
)
def test_names_that_no_certificate_is_for(names: list[str], left: list[str]) -> None:
    made = authority().issue(["Example.org", "*.example.net", "10.0.0.1"])
    assert pem.uncovered(pem.load_chain(made.cert_pem)[0], names) == left


def test_a_certificate_without_names_is_for_none() -> None:
    assert pem.uncovered(authority().certificate, ["example.org"]) == ["example.org"]
