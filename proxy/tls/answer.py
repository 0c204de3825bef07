"""``answer``: a hello becomes the server's whole first flight and a ``HalfOpen``.

TLS 1.3 with (EC)DHE and a certificate (RFC 8446, Section 2): ServerHello, a compatibility CCS
where allowed, then EncryptedExtensions, Certificate, CertificateVerify and Finished in as few
records as fit. Afterwards nothing is kept but the packed ``HalfOpen``.
"""

import hashlib
from functools import lru_cache
from typing import Final, NamedTuple

from proxy.tls.context import Retried
from proxy.tls.credentials import Credential
from proxy.tls.defaults import EARLY_DATA_LIMIT
from proxy.tls.errors import PeerIncompatible, PeerMisbehaved, Reason
from proxy.tls.half_open import pack
from proxy.tls.key_schedule import HandshakeStage, finished_mac
from proxy.tls.negotiate import (
    Policy,
    check_hello,
    choose_alpn,
    choose_credential,
    choose_group,
    choose_name,
    choose_retry_group,
    choose_suite,
    share_for,
)
from proxy.tls.ports import Entropy
from proxy.tls.protection import Sealer
from proxy.tls.suites import PARAMETERS, SuiteParameters
from proxy.wire import (
    ClientHello,
    ContentType,
    ExtensionType,
    KeyShareEntry,
    NamedGroup,
    SignatureScheme,
    certificate_verify,
    change_cipher_spec_record,
    encrypted_extensions,
    extension,
    finished,
    message_hash,
    plaintext_records,
    server_hello,
    u8_vector,
    u16_vector,
)

__all__ = ["Flight", "RetryNeeded", "answer", "plan_retry"]

_CCS: Final = change_cipher_spec_record()
_HANDSHAKE: Final = ContentType.HANDSHAKE
# RFC 8446, Section 4.4.3: 64 spaces, the context string, a zero byte.
_SIGNED_PREFIX: Final = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"


class Flight(NamedTuple):
    """What goes to the client, and what is kept of it."""

    data: bytes
    half_open: bytes
    scheme: SignatureScheme

    def __repr__(self) -> str:
        return f"Flight({len(self.data)} bytes, {self.scheme!r})"


class RetryNeeded(NamedTuple):
    """The hello is acceptable but has no share for ``group``: ``retry`` asks for one."""

    suite: SuiteParameters
    group: NamedGroup


def answer(hello: ClientHello | Retried, policy: Policy, entropy: Entropy) -> Flight | RetryNeeded:
    """Answer a first hello, or the second one of a ``Retried``. Raises ``TlsError``."""
    if isinstance(hello, Retried):
        return _answer_retried(hello, policy, entropy)
    suite = _check_first(hello, policy)
    group, share = choose_group(hello, policy)
    if share is None:
        return RetryNeeded(suite, group)
    transcript = suite.new_hash(hello.message)
    skip = EARLY_DATA_LIMIT if hello.early_data else 0
    # RFC 8446, Appendix D.4: only where the client offered a session ID.
    ccs = _CCS if hello.session_id else b""
    return _flight(hello, policy, entropy, suite, group, share, transcript, skip, ccs)


def plan_retry(hello: ClientHello, policy: Policy) -> RetryNeeded:
    """What a HelloRetryRequest would settle, where the hello is to be answered by one anyway."""
    return RetryNeeded(_check_first(hello, policy), choose_retry_group(hello, policy))


def _check_first(hello: ClientHello, policy: Policy) -> SuiteParameters:
    check_hello(hello)
    if hello.cookie is not None:
        # RFC 8446, Section 4.2.2: clients MUST NOT use cookies in their initial ClientHello.
        raise PeerMisbehaved(Reason.BAD_COOKIE)
    return choose_suite(hello, policy)


def _answer_retried(context: Retried, policy: Policy, entropy: Entropy) -> Flight:
    hello = ClientHello.decode(context.hello)
    check_hello(hello)
    group = context.group
    share = share_for(hello, group)
    if share is None:
        raise PeerMisbehaved(Reason.BAD_KEY_SHARE)
    if group not in policy.groups:
        # Chosen by a front that is not to be trusted with more than it needs.
        raise PeerIncompatible(Reason.NO_SHARED_GROUP)
    if context.suite not in policy.suites:
        raise PeerIncompatible(Reason.NO_SHARED_SUITE)
    suite = PARAMETERS[context.suite]
    # RFC 8446, Section 4.4.1: the first hello is replaced by its hash.
    transcript = suite.new_hash(message_hash(context.first_hash))
    transcript.update(context.retry_request)
    transcript.update(hello.message)
    # Its 0-RTT data was skipped before the second hello, and the CCS went behind the retry.
    return _flight(hello, policy, entropy, suite, group, share, transcript, 0, b"")


def _flight(
    hello: ClientHello,
    policy: Policy,
    entropy: Entropy,
    suite: SuiteParameters,
    group: NamedGroup,
    share: KeyShareEntry,
    transcript: "hashlib._Hash",
    skip: int,
    ccs: bytes,
) -> Flight:
    """The whole flight; ``ccs`` goes with it, and ``skip`` bytes of 0-RTT data may come back."""
    # Everything that can refuse comes before the first expensive operation.
    server_name, name = choose_name(hello, policy)
    credential, scheme = choose_credential(hello, name)
    alpn = choose_alpn(hello, name)
    agreed = entropy.agree(group, share.key_exchange)
    message = server_hello(entropy.random(32), hello.session_id, suite.suite, group, agreed.share)
    transcript.update(message)
    hello_hash = transcript.digest()
    stage = HandshakeStage.from_shared_secret(suite.hash_name, agreed.secret)
    secret = stage.server_traffic(hello_hash)
    preferred = () if group == policy.groups[0] else tuple(policy.groups)
    extensions = _encrypted_extensions(server_name is not None, alpn, preferred)
    encrypted = _authenticated(suite, secret, transcript, extensions, credential, scheme)
    sni = server_name.encode() if server_name else b""
    digest = transcript.digest()
    half_open = pack(
        suite, group, name.index, 0, 0, skip, sni, alpn or b"", stage.secret, hello_hash, digest
    )
    sealed = Sealer(suite, secret).seal_all(_HANDSHAKE, encrypted)
    data = b"".join((plaintext_records(_HANDSHAKE, message), ccs, sealed))
    return Flight(data, half_open, scheme)


def _authenticated(
    suite: SuiteParameters,
    secret: bytes,
    transcript: "hashlib._Hash",
    extensions: bytes,
    credential: Credential,
    scheme: SignatureScheme,
) -> bytes:
    """EncryptedExtensions to Finished, added to the transcript (RFC 8446, 4.3 and 4.4)."""
    opening = extensions + credential.message
    transcript.update(opening)
    signature = credential.signer.sign(scheme, _SIGNED_PREFIX + transcript.digest())
    verify = certificate_verify(scheme, signature)
    transcript.update(verify)
    closing = finished(finished_mac(suite.hash_name, secret, transcript.digest()))
    transcript.update(closing)
    return opening + verify + closing


@lru_cache(maxsize=256)
def _encrypted_extensions(
    named: bool, alpn: bytes | None, preferred: tuple[NamedGroup, ...]
) -> bytes:
    """RFC 8446, Section 4.3.1: its few forms depend on the configuration alone."""
    extensions = []
    if named:
        # RFC 6066, Section 3: an empty server_name says that the name was used.
        extensions.append(extension(ExtensionType.SERVER_NAME, b""))
    if preferred:
        # RFC 8446, Section 4.2.7: SHOULD be sent where we prefer a group to the client's shares,
        # so that its next hello can bring one.
        groups = b"".join(group.to_bytes(2) for group in preferred)
        extensions.append(extension(ExtensionType.SUPPORTED_GROUPS, u16_vector(groups)))
    if alpn is not None:
        extensions.append(
            extension(
                ExtensionType.APPLICATION_LAYER_PROTOCOL_NEGOTIATION, u16_vector(u8_vector(alpn))
            )
        )
    return encrypted_extensions(extensions)
