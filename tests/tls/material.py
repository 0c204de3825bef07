"""What engine tests are made of: certificates of a throw-away CA, policies, fixed randomness.

Certificates are issued once for a test run and kind of key. ``FixedEntropy`` and ``FixedSigner``
stand behind the engine's ports where a test wants the same bytes every time.
"""

import hashlib
from collections.abc import Sequence
from functools import cache

from proxy.tls import Credential, KeyAgreement, Policy, Secret, ServerName, SystemEntropy
from proxy.wire import NamedGroup, SignatureScheme
from tests.certs import Issued, ThrowAwayCa

NAME = "server.example"
CERTIFICATE_KINDS = ("ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519")
ENTROPY = SystemEntropy()

# draft-ietf-tls-ecdhe-mlkem, Section 4: ciphertext and X25519 share; both secrets.
SERVER_SHARE_SIZES = {
    NamedGroup.X25519MLKEM768: 1088 + 32,
    NamedGroup.X25519: 32,
    NamedGroup.SECP256R1: 65,
    NamedGroup.SECP384R1: 97,
}
SECRET_SIZES = {
    NamedGroup.X25519MLKEM768: 64,
    NamedGroup.X25519: 32,
    NamedGroup.SECP256R1: 32,
    NamedGroup.SECP384R1: 48,
}

SIGNATURE_SIZES = {
    SignatureScheme.ECDSA_SECP256R1_SHA256: 71,
    SignatureScheme.ECDSA_SECP384R1_SHA384: 103,
    SignatureScheme.RSA_PSS_RSAE_SHA256: 256,
    SignatureScheme.ED25519: 64,
}


@cache
def authority() -> ThrowAwayCa:
    """The CA that every test certificate of this run comes from."""
    return ThrowAwayCa()


@cache
def issued(kind: str = "ecdsa-p256", name: str = NAME) -> Issued:
    """A leaf and its key as PEM."""
    return authority().issue([name], key=kind)


@cache
def credential(kind: str = "ecdsa-p256", name: str = NAME) -> Credential:
    """The same, ready for the engine."""
    pair = issued(kind, name)
    return Credential.from_pem(pair.cert_pem, Secret(pair.key_pem))


def policy(
    kind: str = "ecdsa-p256",
    *,
    alpn: tuple[bytes, ...] = (),
    groups: Sequence[NamedGroup] | None = None,
) -> Policy:
    """One name, which is the default too."""
    entry = ServerName(0, (credential(kind),), alpn)
    if groups is None:
        return Policy(names={NAME: entry}, default=entry)
    return Policy(names={NAME: entry}, default=entry, groups=groups)


def pseudo_random(label: str, size: int) -> bytes:
    """Bytes that depend on nothing but the label."""
    return hashlib.shake_256(label.encode()).digest(size)


class FixedEntropy:
    """An ``Entropy`` whose every answer is a function of what is asked."""

    def random(self, size: int) -> bytes:
        return pseudo_random("server random", size)

    def agree(self, group: NamedGroup, client_share: bytes) -> KeyAgreement:
        """Not a key agreement: our share and the secret are both made up."""
        return KeyAgreement(
            pseudo_random(f"server share {group.name}", SERVER_SHARE_SIZES[group]),
            fixed_secret(group),
        )


def fixed_secret(group: NamedGroup) -> bytes:
    """What ``FixedEntropy`` agrees on."""
    return pseudo_random(f"shared secret {group.name}", SECRET_SIZES[group])


class FixedSigner:
    """A ``Signer`` whose signature is a hash of the signed message, as long as a real one."""

    def __init__(self, scheme: SignatureScheme) -> None:
        self.schemes: Sequence[SignatureScheme] = (scheme,)

    def sign(self, scheme: SignatureScheme, message: bytes) -> bytes:
        return hashlib.shake_256(scheme.to_bytes(2) + message).digest(SIGNATURE_SIZES[scheme])
