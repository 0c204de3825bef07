"""What the engine needs from outside, as Protocols: synchronous and in memory."""

from collections.abc import Sequence
from typing import Protocol

from proxy.tls.key_exchange import KeyAgreement
from proxy.wire import NamedGroup, SignatureScheme

__all__ = ["Entropy", "Signer"]


class Entropy(Protocol):
    """Where randomness enters, so that golden traces can fix it."""

    def random(self, size: int) -> bytes:
        """``size`` unpredictable bytes."""
        ...

    def agree(self, group: NamedGroup, client_share: bytes) -> KeyAgreement:
        """A fresh ephemeral key's answer to the client's share."""
        ...


class Signer(Protocol):
    """A certificate's private key."""

    @property
    def schemes(self) -> Sequence[SignatureScheme]:
        """What the key can sign with, best first."""
        ...

    def sign(self, scheme: SignatureScheme, message: bytes) -> bytes:
        """The signature over ``message`` by one of ``schemes``."""
        ...
