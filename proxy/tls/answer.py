"""``answer``: a hello becomes the server's whole first flight and a ``HalfOpen``.

TLS 1.3 with (EC)DHE and a certificate (RFC 8446, Section 2): ServerHello, a compatibility CCS
where allowed, then EncryptedExtensions, Certificate, CertificateVerify and Finished in as few
records as fit. Afterwards nothing is kept but the packed ``HalfOpen``.
"""

import hashlib
from functools import lru_cache
from typing import Final, NamedTuple

from proxy.tls.context import Retried
from proxy.tls.defaults import EARLY_DATA_LIMIT
from proxy.tls.errors import PeerMisbehaved, Reason
from proxy.tls.half_open import HalfOpen
from proxy.tls.key_schedule import HandshakeStage, finished_mac
from proxy.tls.negotiate import (
    Policy,
    check_hello,
    choose_alpn,
    choose_credential,
    choose_group,
    choose_name,
    choose_suite,
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
    transcript = hashlib.new(suite.hash_name, hello.message)
    skip = EARLY_DATA_LIMIT if hello.early_data else 0
    compatible = bool(hello.session_id)
    return _Answer(hello, policy, entropy, suite).flight(group, share, transcript, skip, compatible)


def plan_retry(hello: ClientHello, policy: Policy) -> RetryNeeded:
    """What a HelloRetryRequest would settle, where the hello is to be answered by one anyway."""
    return RetryNeeded(_check_first(hello, policy), choose_group(hello, policy)[0])


def _check_first(hello: ClientHello, policy: Policy) -> SuiteParameters:
    check_hello(hello)
    if hello.cookie is not None:
        # RFC 8446, Section 4.2.2: clients MUST NOT use cookies in their initial ClientHello.
        raise PeerMisbehaved(Reason.BAD_COOKIE)
    return choose_suite(hello, policy)


def _answer_retried(context: Retried, policy: Policy, entropy: Entropy) -> Flight:
    hello = ClientHello.decode(context.hello)
    check_hello(hello)
    share = next((one for one in hello.key_shares or () if one.group == context.group), None)
    if share is None:
        raise PeerMisbehaved(Reason.BAD_KEY_SHARE)
    suite = PARAMETERS[context.suite]
    # RFC 8446, Section 4.4.1: the first hello is replaced by its hash.
    transcript = hashlib.new(suite.hash_name, message_hash(context.first_hash))
    transcript.update(context.retry_request)
    transcript.update(hello.message)
    # Its 0-RTT data was skipped before the second hello, and the CCS went behind the retry.
    return _Answer(hello, policy, entropy, suite).flight(context.group, share, transcript, 0, False)


class _Answer:
    """One flight in the making."""

    __slots__ = (
        "_alpn",
        "_choice",
        "_entropy",
        "_groups",
        "_hello",
        "_name",
        "_server_name",
        "_suite",
    )

    def __init__(
        self, hello: ClientHello, policy: Policy, entropy: Entropy, suite: SuiteParameters
    ) -> None:
        self._hello = hello
        self._entropy = entropy
        self._suite = suite
        self._groups = tuple(policy.groups)
        # Everything that can refuse comes before the first expensive operation.
        self._server_name, self._name = choose_name(hello, policy)
        self._choice = choose_credential(hello, self._name)
        self._alpn = choose_alpn(hello, self._name)

    def flight(
        self,
        group: NamedGroup,
        share: KeyShareEntry,
        transcript: "hashlib._Hash",
        skip: int,
        compatible: bool,
    ) -> Flight:
        hello, suite = self._hello, self._suite
        agreed = self._entropy.agree(group, share.key_exchange)
        message = server_hello(
            self._entropy.random(32), hello.session_id, suite.suite, group, agreed.share
        )
        transcript.update(message)
        stage = HandshakeStage.from_shared_secret(suite.hash_name, agreed.secret)
        hello_hash = transcript.digest()
        server_secret = stage.server_traffic(hello_hash)
        preferred = () if group == self._groups[0] else self._groups
        opening = _encrypted_extensions(self._server_name is not None, self._alpn, preferred)
        encrypted = self._authenticate(transcript, server_secret, opening)
        kept = HalfOpen(
            suite,
            group,
            self._name.index,
            0,
            0,
            skip,
            (self._server_name or "").encode(),
            self._alpn or b"",
            stage.secret,
            hello_hash,
            transcript.digest(),
        )
        data = b"".join(
            (
                plaintext_records(ContentType.HANDSHAKE, message),
                # RFC 8446, Appendix D.4: only where the client offered a session ID.
                _CCS if compatible else b"",
                Sealer(suite, server_secret).seal_all(ContentType.HANDSHAKE, encrypted),
            )
        )
        return Flight(data, kept.pack(), self._choice.scheme)

    def _authenticate(
        self, transcript: "hashlib._Hash", server_secret: bytes, extensions: bytes
    ) -> bytes:
        """EncryptedExtensions to Finished, added to the transcript (RFC 8446, 4.3 and 4.4)."""
        credential, scheme = self._choice
        opening = extensions + credential.message
        transcript.update(opening)
        signature = credential.signer.sign(scheme, _SIGNED_PREFIX + transcript.digest())
        verify = certificate_verify(scheme, signature)
        transcript.update(verify)
        mac = finished_mac(self._suite.hash_name, server_secret, transcript.digest())
        closing = finished(mac)
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
