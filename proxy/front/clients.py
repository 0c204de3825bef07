"""What the front knows of each descriptor, in arrays indexed by its number.

A client that has been answered and says nothing more costs here a few array cells and the key of
its table entry. A number is given out again only after it was removed here, and the accept loop
runs behind the batch of events, so no event can meet the state of a later client.
"""

from array import array
from collections.abc import Iterator
from typing import Final

from proxy.front.answerer import Answerer, Stage
from proxy.tls import HelloReader

__all__ = ["Clients"]

_FIRST_SIZE: Final = 1024


class Clients:
    """State by descriptor; every method but ``add`` and ``stage`` expects a known one."""

    __slots__ = (
        "_accepted_s",
        "_answerers",
        "_count",
        "_keys",
        "_pending",
        "_stages",
        "pending_bytes",
    )

    def __init__(self) -> None:
        self._stages = bytearray(_FIRST_SIZE)
        self._accepted_s = array("d", bytes(8 * _FIRST_SIZE))
        self._answerers: list[Answerer | None] = [None] * _FIRST_SIZE
        self._keys: list[bytes] = [b""] * _FIRST_SIZE
        # Only of clients whose message came in pieces.
        self._pending: dict[int, HelloReader | bytes] = {}
        self.pending_bytes = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, descriptor: int, answerer: Answerer, five_tuple: bytes, now: float) -> None:
        """A client that waits for nothing but its hello."""
        if descriptor >= len(self._stages):
            self._grow(descriptor)
        self._count += 1
        self._stages[descriptor] = Stage.HELLO
        self._accepted_s[descriptor] = now
        self._answerers[descriptor] = answerer
        self._keys[descriptor] = five_tuple

    def remove(self, descriptor: int) -> None:
        """Forget the descriptor."""
        self.take_pending(descriptor)
        self._count -= 1
        self._stages[descriptor] = Stage.FREE
        self._answerers[descriptor] = None
        self._keys[descriptor] = b""

    def stage(self, descriptor: int) -> int:
        """What the descriptor waits for; ``FREE`` where it is unknown."""
        return self._stages[descriptor] if descriptor < len(self._stages) else Stage.FREE

    def advance(self, descriptor: int, stage: Stage) -> None:
        """It waits for something else now."""
        self._stages[descriptor] = stage

    def answerer(self, descriptor: int) -> Answerer:
        """Whose client it is."""
        answerer = self._answerers[descriptor]
        if answerer is None:
            raise KeyError(descriptor)
        return answerer

    def key(self, descriptor: int) -> bytes:
        """Its 5-tuple."""
        return self._keys[descriptor]

    def accepted_s(self, descriptor: int) -> float:
        """When it was accepted, monotonic seconds."""
        return self._accepted_s[descriptor]

    def take_pending(self, descriptor: int) -> HelloReader | bytes | None:
        """The start of a message that is not whole; it is the caller's to ``keep`` again."""
        if not self._pending:
            return None
        pending = self._pending.pop(descriptor, None)
        if pending is not None:
            self.pending_bytes -= _size(pending)
        return pending

    def keep(self, descriptor: int, pending: HelloReader | bytes) -> None:
        """Keep it until more arrives."""
        self._pending[descriptor] = pending
        self.pending_bytes += _size(pending)

    def hogs(self) -> list[int]:
        """Descriptors that hold at least half of what holders do on average.

        Together they have at least half of all pending bytes, so that walking over all of them
        pays off.
        """
        least = self.pending_bytes / (2 * max(1, len(self._pending)))
        return [number for number, one in self._pending.items() if _size(one) >= least]

    def in_stage(self, stage: Stage) -> Iterator[int]:
        """Descriptors that wait for this: a walk over all, for reports only."""
        return (number for number, one in enumerate(self._stages) if one == stage)

    def known(self) -> list[int]:
        """Every descriptor there is."""
        return [number for number, one in enumerate(self._stages) if one]

    def _grow(self, descriptor: int) -> None:
        more = max(descriptor + 1, 2 * len(self._stages)) - len(self._stages)
        self._stages.extend(bytes(more))
        self._accepted_s.extend(array("d", bytes(8 * more)))
        self._answerers.extend([None] * more)
        self._keys.extend([b""] * more)


def _size(pending: HelloReader | bytes) -> int:
    return len(pending) if isinstance(pending, bytes) else pending.buffered
