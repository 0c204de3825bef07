"""The sans-IO TLS 1.3 server engine: bytes, values and events; no sockets, no clock."""

from proxy.tls.answer import Flight, RetryNeeded, answer, plan_retry
from proxy.tls.connection import Connection, sent_size
from proxy.tls.context import (
    Established,
    Retried,
    TlsContext,
    decode_context,
    encode_context,
)
from proxy.tls.cookie import redeem, retry
from proxy.tls.credentials import Credential, PrivateKeySigner
from proxy.tls.defaults import EARLY_DATA_LIMIT, HELLO_LIMIT
from proxy.tls.entropy import SystemEntropy
from proxy.tls.errors import (
    Misuse,
    PeerAborted,
    PeerIncompatible,
    PeerMisbehaved,
    Reason,
    TlsError,
)
from proxy.tls.events import ApplicationData, CloseNotify, Event
from proxy.tls.finish import NeedMore, finish, half_open_alert
from proxy.tls.half_open import HalfOpen
from proxy.tls.hello_reader import HelloReader, WholeHello, read_hello
from proxy.tls.key_exchange import KeyAgreement
from proxy.tls.negotiate import Policy, ServerName
from proxy.tls.ports import Entropy, Signer
from proxy.tls.secret import Secret

__all__ = [
    "EARLY_DATA_LIMIT",
    "HELLO_LIMIT",
    "ApplicationData",
    "CloseNotify",
    "Connection",
    "Credential",
    "Entropy",
    "Established",
    "Event",
    "Flight",
    "HalfOpen",
    "HelloReader",
    "KeyAgreement",
    "Misuse",
    "NeedMore",
    "PeerAborted",
    "PeerIncompatible",
    "PeerMisbehaved",
    "Policy",
    "PrivateKeySigner",
    "Reason",
    "Retried",
    "RetryNeeded",
    "Secret",
    "ServerName",
    "Signer",
    "SystemEntropy",
    "TlsContext",
    "TlsError",
    "WholeHello",
    "answer",
    "decode_context",
    "encode_context",
    "finish",
    "half_open_alert",
    "plan_retry",
    "read_hello",
    "redeem",
    "retry",
    "sent_size",
]
