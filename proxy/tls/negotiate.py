"""What both sides can: version, suite, group, name, certificate, protocol (RFC 8446, 4.1.1).

Pure choices over a decoded hello and a ``Policy``. Nothing in common raises
``PeerIncompatible``; a hello that breaks a rule raises ``PeerMisbehaved``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from proxy.tls.credentials import Credential
from proxy.tls.defaults import GROUPS, SUITES
from proxy.tls.errors import PeerIncompatible, PeerMisbehaved, Reason
from proxy.tls.suites import PARAMETERS, SuiteParameters
from proxy.wire import (
    CipherSuite,
    ClientHello,
    ExtensionType,
    KeyShareEntry,
    NamedGroup,
    ProtocolVersion,
    SignatureScheme,
)

__all__ = ["Choice", "Policy", "ServerName", "choose_group", "choose_name", "choose_suite"]

_MAX_NAME: Final = 253  # RFC 1035, Section 2.3.4

_Number = TypeVar("_Number", bound=int)


@dataclass(frozen=True, slots=True)
class ServerName:
    """One entry of a listener's names: what is presented and spoken under it.

    ``index`` is the entry's place in the listener's configuration.
    """

    index: int
    credentials: tuple[Credential, ...]
    alpn: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What one listener answers with. Names are lower-case ASCII; ``wildcards`` is keyed by what
    stands behind ``*``, with its dot."""

    names: Mapping[str, ServerName]
    wildcards: Mapping[str, ServerName] = field(default_factory=dict)
    default: ServerName | None = None
    suites: Sequence[CipherSuite] = SUITES
    groups: Sequence[NamedGroup] = GROUPS
    server_order: bool = False


class Choice(NamedTuple):
    """A credential and the scheme to sign with."""

    credential: Credential
    scheme: SignatureScheme


def check_hello(hello: ClientHello) -> None:
    """What RFC 8446 asks of every TLS 1.3 hello, whatever is chosen."""
    versions = hello.supported_versions
    if versions is None or ProtocolVersion.TLS_1_3 not in versions:
        raise PeerIncompatible(Reason.NO_SHARED_VERSION)
    if hello.legacy_version <= ProtocolVersion.SSL_3_0:
        # RFC 8446, Appendix D.5: the only case in which legacy_version still counts.
        raise PeerIncompatible(Reason.NO_SHARED_VERSION)
    if hello.compression_methods != b"\0":
        # RFC 8446, Section 4.1.2: exactly one byte, set to zero.
        raise PeerMisbehaved(Reason.BAD_COMPRESSION)
    if hello.supported_groups is None or hello.key_shares is None:
        # RFC 8446, Section 9.2: each of the two needs the other; we take no PSK without (EC)DHE.
        raise PeerMisbehaved(Reason.MISSING_EXTENSION)
    if hello.signature_algorithms is None:
        # RFC 8446, Section 4.2.3: required where the server authenticates by certificate.
        raise PeerMisbehaved(Reason.MISSING_EXTENSION)
    if (
        ExtensionType.PRE_SHARED_KEY in hello.extensions
        and ExtensionType.PSK_KEY_EXCHANGE_MODES not in hello.extensions
    ):
        # RFC 8446, Section 4.2.9: abort where pre_shared_key comes without its modes.
        raise PeerMisbehaved(Reason.MISSING_EXTENSION)


def choose_suite(hello: ClientHello, policy: Policy) -> SuiteParameters:
    """The first of the client's suites that is configured (or ours, by option)."""
    ours, theirs = policy.suites, hello.cipher_suites
    found = _first(ours, theirs) if policy.server_order else _first(theirs, ours)
    if found is None:
        raise PeerIncompatible(Reason.NO_SHARED_SUITE)
    return PARAMETERS[found]


def _first(preferred: Sequence[_Number], others: Sequence[int]) -> _Number | None:
    for one in preferred:
        if one in others:
            return one
    return None


def choose_group(hello: ClientHello, policy: Policy) -> tuple[NamedGroup, KeyShareEntry | None]:
    """The group, and the client's share for it where it sent one.

    A group that the client sent a share for wins over one that costs a round trip; among equals
    our order decides.
    """
    entries = hello.key_shares or ()
    shares = {share.group: share for share in entries}
    if len(shares) != len(entries):
        # RFC 8446, Section 4.2.8: no two shares for one group.
        raise PeerMisbehaved(Reason.DUPLICATE_SHARE)
    groups = hello.supported_groups or ()
    if not shares.keys() <= set(groups):
        # RFC 8446, Section 4.2.8: no share for a group that is not in supported_groups.
        raise PeerMisbehaved(Reason.SHARE_NOT_IN_GROUPS)
    for group in policy.groups:
        share = shares.get(group)
        if share is not None:
            return group, share
    found = _first(policy.groups, groups)
    if found is None:
        raise PeerIncompatible(Reason.NO_SHARED_GROUP)
    return found, None


def choose_name(hello: ClientHello, policy: Policy) -> tuple[str | None, ServerName]:
    """The name asked for, normalised, and its entry: exact, then wildcard, then default."""
    raw = hello.server_name
    if raw is None:
        if policy.default is None:
            raise PeerIncompatible(Reason.UNKNOWN_NAME)
        return None, policy.default
    name = _host_name(raw)
    found = policy.names.get(name)
    if found is None:
        # RFC 6125, Section 6.4.3: the wildcard stands for the whole left-most label only,
        # which is not empty.
        dot = name.find(".")
        found = policy.wildcards.get(name[dot:]) if dot > 0 else None
    if found is None:
        found = policy.default
    if found is None:
        # RFC 6066, Section 3: abort with unrecognized_name.
        raise PeerIncompatible(Reason.UNKNOWN_NAME)
    return name, found


def _host_name(raw: bytes) -> str:
    """RFC 6066, Section 3: ASCII without a trailing dot; compared without regard to case."""
    if len(raw) > _MAX_NAME or b"\0" in raw or not raw.isascii():
        raise PeerMisbehaved(Reason.BAD_SERVER_NAME)
    name = raw.decode("ascii").lower().removesuffix(".")
    if not name or not name.isprintable() or " " in name:
        raise PeerMisbehaved(Reason.BAD_SERVER_NAME)
    return name


def choose_credential(hello: ClientHello, name: ServerName) -> Choice:
    """The first credential that the client can verify, its chain included where one fits.

    RFC 8446, Section 4.4.2.2: where no chain fits signature_algorithms_cert, send one anyway.
    """
    schemes = hello.signature_algorithms or ()
    chain_schemes = hello.signature_algorithms_cert or schemes
    fallback = None
    for credential in name.credentials:
        scheme = _first(credential.signer.schemes, schemes)
        if scheme is None:
            continue
        if credential.chain_schemes.issubset(chain_schemes):
            return Choice(credential, scheme)
        fallback = fallback or Choice(credential, scheme)
    if fallback is None:
        raise PeerIncompatible(Reason.NO_SHARED_SCHEME)
    return fallback


def choose_alpn(hello: ClientHello, name: ServerName) -> bytes | None:
    """Our first protocol that the client offers (RFC 7301, Section 3.2)."""
    offered = hello.alpn
    if offered is None or not name.alpn:
        return None
    for protocol in name.alpn:
        if protocol in offered:
            return protocol
    raise PeerIncompatible(Reason.NO_SHARED_PROTOCOL)
