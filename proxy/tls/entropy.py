"""Randomness of the operating system and fresh ephemeral keys: the engine's ``Entropy``."""

from secrets import token_bytes

from proxy.tls.key_exchange import KeyAgreement, agree
from proxy.wire import NamedGroup

__all__ = ["SystemEntropy"]


class SystemEntropy:
    """What every process uses; tests put fixed values in its place."""

    __slots__ = ()

    def random(self, size: int) -> bytes:
        """``size`` bytes of the operating system's generator."""
        return token_bytes(size)

    def agree(self, group: NamedGroup, client_share: bytes) -> KeyAgreement:
        """Answer with a key that is used once."""
        return agree(group, client_share)
