"""The front: accepts, answers hellos, keeps half-open handshakes, hands replies to workers."""

from proxy.front.acceptor import Acceptor
from proxy.front.answerer import Answer, Answerer, Stage
from proxy.front.cookie_keys import CookieKeys
from proxy.front.five_tuple import FiveTuples
from proxy.front.front import Front
from proxy.front.handshakes import Handshakes
from proxy.front.metrics import FrontMetrics
from proxy.front.origin import Origin
from proxy.front.policy import Loaded, build_policy
from proxy.front.pressure import Pressure
from proxy.front.settings import (
    AnswerPolicy,
    BindAddress,
    CertificateMaterial,
    Family,
    Form,
    FrontSettings,
    GroupName,
    ListenerSettings,
    PressureSettings,
    ServerNameSettings,
    SourceSettings,
    SuiteName,
    TlsSettings,
)
from proxy.front.signing import Signing
from proxy.front.sources import Sources, source_of
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
    "Handshakes",
    "ListenerSettings",
    "Loaded",
    "Origin",
    "Pressure",
    "PressureSettings",
    "ServerNameSettings",
    "Signing",
    "SourceSettings",
    "Sources",
    "Stage",
    "SuiteName",
    "TlsSettings",
    "build_policy",
    "source_of",
]
