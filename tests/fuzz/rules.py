"""What every target checks an error by, and the policy that the targets answer with.

Rules: an error's label is one of a closed set, because it becomes a metric's label, and its alert
is the one that this label has here. Both are written down a second time on purpose.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Final

from proxy.tls import (
    Credential,
    PeerAborted,
    PeerIncompatible,
    PeerMisbehaved,
    Policy,
    Reason,
    Secret,
    ServerName,
    TlsError,
)
from proxy.tls.defaults import GROUPS
from proxy.wire import (
    HEADER_SIZE,
    MAX_CIPHERTEXT,
    AlertDescription,
    DecodeError,
    SignatureScheme,
    certificate,
)
from tests.tls.material import NAME, FixedSigner

__all__ = [
    "CONNECTION",
    "COOKIE_KEY",
    "DECODE_REASONS",
    "ISSUED_AT",
    "LONGEST_RECORD",
    "Refusal",
    "check",
    "policy",
    "refused",
    "strict_policy",
]

COOKIE_KEY: Final = Secret(bytes(32))
CONNECTION: Final = b"connection"
ISSUED_AT: Final = 1000.0
LONGEST_RECORD: Final = HEADER_SIZE + MAX_CIPHERTEXT

_DECODE: Final = frozenset({AlertDescription.DECODE_ERROR})
_ILLEGAL: Final = frozenset({AlertDescription.ILLEGAL_PARAMETER})

DECODE_REASONS: Final = {
    **dict.fromkeys(
        (
            "bad_alpn",
            "bad_cipher_suites",
            "bad_compression_methods",
            "bad_cookie",
            "bad_early_data",
            "bad_extensions",
            "bad_key_share",
            "bad_key_update_size",
            "bad_list",
            "bad_pre_shared_key",
            "bad_psk_key_exchange_modes",
            "bad_session_id",
            "bad_supported_versions",
            "truncated_extension",
            "truncated_hello",
        ),
        _DECODE,
    ),
    # Two hosts in one list are well-formed and forbidden; a list that does not fit is malformed.
    "bad_server_name": _DECODE | _ILLEGAL,
    **dict.fromkeys(("binder_count", "duplicate_extension", "pre_shared_key_not_last"), _ILLEGAL),
}
"""Labels of what does not parse, with the alerts that each may have."""

_REASONS: Final = frozenset(reason.value for reason in Reason) - {Reason.PEER_ALERT}

Refusal = tuple[str, AlertDescription | None]
"""An error as it shows outside: label and alert."""


def check(error: TlsError) -> Refusal:
    """Assert that a peer's error is one of ours, and give what shows of it."""
    if isinstance(error, DecodeError):
        assert error.alert in DECODE_REASONS[error.reason], repr(error)
    elif isinstance(error, PeerAborted):
        assert (error.reason, error.alert) == (Reason.PEER_ALERT, None)
        assert 0 <= error.description <= 255
    else:
        assert isinstance(error, PeerMisbehaved | PeerIncompatible), repr(error)
        assert error.reason in _REASONS
        assert error.alert is not None
        assert error.alert == type(error)(Reason(error.reason)).alert
    return error.reason, error.alert


def refused(attempt: Callable[[], object]) -> Refusal | None:
    """What the attempt was refused for; ``None``: it went through."""
    try:
        attempt()
    except TlsError as error:
        return check(error)
    return None


@cache
def policy(without: int = 0) -> Policy:
    """Two names, an ECDSA and an RSA key that cost nothing, and one protocol.

    ``without`` is a bit for each group of ours that is left out; all but one may be.
    """
    chains = {
        SignatureScheme.ECDSA_SECP256R1_SHA256: SignatureScheme.ECDSA_SECP384R1_SHA384,
        SignatureScheme.RSA_PSS_RSAE_SHA256: SignatureScheme.RSA_PKCS1_SHA256,
    }
    credentials = tuple(
        Credential(certificate([b"der"]), FixedSigner(own), frozenset({chain}))
        for own, chain in chains.items()
    )
    entry = ServerName(0, credentials, (b"http/1.1",))
    groups = tuple(group for bit, group in enumerate(GROUPS) if not without >> bit & 1)
    return Policy(
        names={"localhost": entry, NAME: entry},
        wildcards={".localhost": entry},
        default=entry,
        groups=groups or GROUPS[-1:],
    )


@cache
def strict_policy() -> Policy:
    """The same without a default name, and with our order of suites."""
    return replace(policy(), default=None, server_order=True)
