"""The front: accepts, answers hellos, keeps half-open handshakes, hands replies to workers."""

from proxy.front.acceptor import Acceptor, ListeningSocket
from proxy.front.answerer import Answer, Answerer, Stage
from proxy.front.cookie_keys import CookieKeys
from proxy.front.five_tuple import FiveTuples
from proxy.front.front import Front
from proxy.front.metrics import FrontMetrics
from proxy.front.policy import Loaded, build_policy
from proxy.front.settings import (
    AnswerPolicy,
    BindAddress,
    CertificateMaterial,
    Family,
    Form,
    FrontSettings,
    GroupName,
    ListenerSettings,
    ServerNameSettings,
    SuiteName,
    TlsSettings,
)
from proxy.front.table import HandshakeTable
from proxy.front.wheel import DeadlineWheel

__all__ = [
    "Acceptor",
    "Answer",
    "AnswerPolicy",
    "Answerer",
    "BindAddress",
    "CertificateMaterial",
    "CookieKeys",
    "DeadlineWheel",
    "Family",
    "FiveTuples",
    "Form",
    "Front",
    "FrontMetrics",
    "FrontSettings",
    "GroupName",
    "HandshakeTable",
    "ListenerSettings",
    "ListeningSocket",
    "Loaded",
    "ServerNameSettings",
    "Stage",
    "SuiteName",
    "TlsSettings",
    "build_policy",
]
