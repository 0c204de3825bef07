"""Settings become what the engine answers with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.front import Loaded, TlsSettings, build_policy
from proxy.tls import Misuse
from proxy.wire import CipherSuite, NamedGroup
from tests.front.site import CA, settings


@pytest.mark.requirement("A29")
def test_exact_wildcard_and_default_names() -> None:
    base = settings()
    name = base.server_names[0]
    names = (
        replace(name, index=1, names=("one.test", "*.one.test")),
        replace(name, index=2, names=("two.test",), default=True),
    )
    policy = build_policy(replace(base, server_names=names))
    assert {key: entry.index for key, entry in policy.names.items()} == {
        "one.test": 1,
        "two.test": 2,
    }
    assert {key: entry.index for key, entry in policy.wildcards.items()} == {".one.test": 1}
    assert policy.default is not None
    assert policy.default.index == 2
    assert policy.names["one.test"].alpn == (b"http/1.1",)


@pytest.mark.requirement("A25", "A26", "A60")
def test_suites_and_groups_are_the_engines_and_follow_the_settings() -> None:
    policy = build_policy(settings())
    assert set(policy.suites) == set(CipherSuite)
    assert set(policy.groups) == set(NamedGroup)
    assert not policy.server_order
    chosen = TlsSettings(
        suites=("TLS_CHACHA20_POLY1305_SHA256",), groups=("SECP384R1", "X25519"), prefer="server"
    )
    policy = build_policy(settings(tls=chosen))
    assert policy.suites == (CipherSuite.TLS_CHACHA20_POLY1305_SHA256,)
    assert policy.groups == (NamedGroup.SECP384R1, NamedGroup.X25519)
    assert policy.server_order


def test_a_certificate_that_several_names_share_is_loaded_once() -> None:
    loaded: Loaded = {}
    base = settings()
    name = base.server_names[0]
    twice = replace(base, server_names=(name, replace(name, index=1, names=("other.test",))))
    policy = build_policy(twice, loaded)
    assert len(loaded) == 1
    first, second = policy.names.values()
    assert first.credentials[0] is second.credentials[0]


def test_a_key_that_cannot_sign_is_refused_before_it_serves() -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    base = settings()
    name = base.server_names[0]
    issued = CA.issue(["p521.test"])
    material = replace(name.certificates[0], chain_pem=issued.cert_pem)
    material = replace(material, key=type(material.key)(pem))
    names = (replace(name, certificates=(material,)),)
    with pytest.raises(Misuse, match="ECDSA P-256"):
        build_policy(replace(base, server_names=names))
