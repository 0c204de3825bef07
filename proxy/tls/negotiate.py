"""What both sides can: version, suite, group, name, certificate, protocol (RFC 8446, 4.1.1).

Pure choices over a decoded hello and a ``Policy``. Nothing in common raises
``PeerIncompatible``; a hello that breaks a rule raises ``PeerMisbehaved``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeVar

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

__all__ = [
    "Policy",
    "ServerName",
    "check_hello",
    "choose_alpn",
    "choose_credential",
    "choose_group",
    "choose_name",
    "choose_retry_group",
    "choose_suite",
    "share_for",
]

_TWO_SHARES: Final = frozenset((int(NamedGroup.X25519), int(NamedGroup.SECP256R1)))
_MAX_NAME: Final = 253  # RFC 1035, Section 2.3.4
# Normalised names that are remembered; the longer ones are refused before that.
_REMEMBERED_NAMES: Final = 1024
# So many key shares are looked for one by one; browsers send three at most.
_FEW: Final = 4

# Plain numbers: to look up an enum's member costs more than to compare with it.
_TLS_1_3: Final = int(ProtocolVersion.TLS_1_3)
_SSL_3_0: Final = int(ProtocolVersion.SSL_3_0)
_PRE_SHARED_KEY: Final = int(ExtensionType.PRE_SHARED_KEY)
_PSK_KEY_EXCHANGE_MODES: Final = int(ExtensionType.PSK_KEY_EXCHANGE_MODES)

_Choice = TypeVar("_Choice")


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


def check_hello(hello: ClientHello) -> None:
    """What RFC 8446 asks of every TLS 1.3 hello, whatever is chosen."""
    versions = hello.supported_versions
    if versions is None or _TLS_1_3 not in versions:
        raise PeerIncompatible(Reason.NO_SHARED_VERSION)
    if hello.legacy_version <= _SSL_3_0:
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
    extensions = hello.extensions
    if _PRE_SHARED_KEY in extensions and _PSK_KEY_EXCHANGE_MODES not in extensions:
        # RFC 8446, Section 4.2.9: abort where pre_shared_key comes without its modes.
        raise PeerMisbehaved(Reason.MISSING_EXTENSION)


def choose_suite(hello: ClientHello, policy: Policy) -> SuiteParameters:
    """The first of the client's suites that is configured (or ours, by option)."""
    ours, theirs = policy.suites, hello.cipher_suites
    found = _first(ours, theirs) if policy.server_order else _first(theirs, ours)
    if found is None:
        raise PeerIncompatible(Reason.NO_SHARED_SUITE)
    return PARAMETERS[found]


def _first(preferred: Sequence[_Choice], others: Sequence[object]) -> _Choice | None:
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
    shares = {}
    for share in entries:
        shares[share.group] = share
    if len(shares) != len(entries):
        # RFC 8446, Section 4.2.8: no two shares for one group.
        raise PeerMisbehaved(Reason.DUPLICATE_SHARE)
    groups = hello.supported_groups or ()
    # A hello has room for thousands of both; then a set saves the square of that.
    listed = groups if len(shares) <= _FEW else frozenset(groups)
    for number in shares:
        if number not in listed:
            # RFC 8446, Section 4.2.8: no share for a group that is not in supported_groups.
            raise PeerMisbehaved(Reason.SHARE_NOT_IN_GROUPS)
    for group in policy.groups:
        if group in shares:
            return group, shares[group]
    found = _first(policy.groups, groups)
    if found is None:
        raise PeerIncompatible(Reason.NO_SHARED_GROUP)
    return found, None


def choose_retry_group(hello: ClientHello, policy: Policy) -> NamedGroup:
    """The group of a HelloRetryRequest that is not sent for want of a share.

    GnuTLS takes one that names no group for an illegal parameter, and Java makes new shares for it,
    which RFC 8446, Section 4.1.2, forbids; both send shares for X25519 and P-256, so P-384 is left
    to be named. Whoever means harm could have asked for P-384 in the first place.
    """
    group, _ = choose_group(hello, policy)
    third = NamedGroup.SECP384R1
    if (
        len(hello.key_shares or ()) == len(_TWO_SHARES)
        and {share.group for share in hello.key_shares or ()} == _TWO_SHARES
        and third in policy.groups
        and third in (hello.supported_groups or ())
    ):
        return third
    return group


def share_for(hello: ClientHello, group: NamedGroup) -> KeyShareEntry | None:
    """The client's share for ``group``."""
    for share in hello.key_shares or ():
        if share.group == group:
            return share
    return None


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


@lru_cache(maxsize=_REMEMBERED_NAMES)
def _host_name(raw: bytes) -> str:
    """RFC 6066, Section 3: ASCII without a trailing dot; compared without regard to case."""
    if len(raw) > _MAX_NAME or b"\0" in raw or not raw.isascii():
        raise PeerMisbehaved(Reason.BAD_SERVER_NAME)
    name = raw.decode("ascii").lower().removesuffix(".")
    if not name or not name.isprintable() or " " in name:
        raise PeerMisbehaved(Reason.BAD_SERVER_NAME)
    return name


def choose_credential(hello: ClientHello, name: ServerName) -> tuple[Credential, SignatureScheme]:
    """The first credential that the client can verify, its chain included where one fits, and the
    scheme to sign with.

    RFC 8446, Section 4.4.2.2: where no chain fits signature_algorithms_cert, send one anyway.
    """
    schemes = hello.signature_algorithms or ()
    chain_schemes = hello.signature_algorithms_cert or schemes
    fallback = None
    for credential in name.credentials:
        scheme = _first(credential.signer.schemes, schemes)
        if scheme is None:
            continue
        for needed in credential.chain_schemes:
            if needed not in chain_schemes:
                break
        else:
            return credential, scheme
        fallback = fallback or (credential, scheme)
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
