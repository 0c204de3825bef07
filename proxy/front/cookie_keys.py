"""The keys of HelloRetryRequest cookies: random, of this process alone, replaced every minute.

They are never stored or shared: the second hello always comes over the same socket. The previous
key is kept while a cookie under it can still be fresh.
"""

from collections.abc import Callable
from typing import Final

from proxy.tls import Secret

__all__ = ["CookieKeys"]

_KEY_SIZE: Final = 32
_LIFETIME_S: Final = 60.0


class CookieKeys:
    """``random`` is the operating system's generator; ``now`` is monotonic seconds."""

    __slots__ = ("_current", "_previous", "_random", "_since")

    def __init__(self, random: Callable[[int], bytes], now: float) -> None:
        self._random = random
        self._current = Secret(random(_KEY_SIZE))
        self._previous = self._current
        self._since = now

    def current(self, now: float) -> Secret:
        """The key to issue with."""
        if now - self._since >= _LIFETIME_S:
            self._previous = self._current
            self._current = Secret(self._random(_KEY_SIZE))
            self._since = now
        return self._current

    def accepted(self, now: float) -> tuple[Secret, Secret]:
        """The keys to redeem with, newest first."""
        return self.current(now), self._previous
