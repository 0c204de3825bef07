"""What a process knows of each client's descriptor, in arrays indexed by its number.

A client that was asked for a second hello costs five bytes here and eight in the wheel; one that
was answered also the key of its table entry. A number is given out again only after it was removed
here, and the accept loop runs behind the batch of events, so no event can meet the state of a later
client.
"""

from array import array
from collections.abc import Iterator
from typing import Final

from proxy.front.answerer import Stage
from proxy.front.origin import Origin
from proxy.tls import HelloReader

__all__ = ["Clients"]

_FIRST_SIZE: Final = 1024
_FREE: Final = int(Stage.FREE)
_HELLO: Final = int(Stage.HELLO)
_SECOND_HELLO: Final = int(Stage.SECOND_HELLO)
_REPLY: Final = int(Stage.REPLY)
# Times of acceptance are 16-bit counts of this: no client stays for the hours until they repeat.
_TICKS_PER_S: Final = 4
_TICKS: Final = 1 << 16


class Clients:
    """State by descriptor; every method but ``add`` and ``stage`` expects a known one."""

    __slots__ = (
        "_accepted",
        "_counts",
        "_holds",
        "_keys",
        "_numbers",
        "_origins",
        "_pending",
        "_stages",
        "pending_bytes",
    )

    def __init__(self) -> None:
        self._stages = array("B", bytes(_FIRST_SIZE))
        self._accepted = array("H", bytes(2 * _FIRST_SIZE))
        self._numbers = array("H", bytes(2 * _FIRST_SIZE))
        self._origins: list[Origin | None] = []
        self._holds: list[int] = []
        # Reaches only as far as clients were answered.
        self._keys: list[bytes | None] = []
        # Only of clients whose message came in pieces.
        self._pending: dict[int, HelloReader | bytes] = {}
        self.pending_bytes = 0
        self._counts = [0] * len(Stage)

    def __len__(self) -> int:
        return sum(self._counts)

    @property
    def half_open(self) -> int:
        """Clients that were answered or asked for a second hello, and have not replied."""
        counts = self._counts
        return counts[_SECOND_HELLO] + counts[_REPLY]

    # --- where they come from ------------------------------------------------------------

    def enrol(self, origin: Origin) -> int:
        """The origin's number, held until it is dismissed."""
        if None in self._origins:
            number = self._origins.index(None)
        else:
            number = len(self._origins)
            self._origins.append(None)
            self._holds.append(0)
        self._origins[number] = origin
        self._holds[number] = 1
        return number

    def hold(self, number: int) -> None:
        """Keep the origin for a client that is still to be added."""
        self._holds[number] += 1

    def dismiss(self, number: int) -> None:
        """One that held the origin does no more; clients that are here do."""
        self._holds[number] -= 1
        if not self._holds[number]:
            self._origins[number] = None

    # --- each client ---------------------------------------------------------------------

    def add(self, descriptor: int, number: int, now: float, stage: Stage = Stage.HELLO) -> None:
        """A client of the origin with this number."""
        if descriptor >= len(self._stages):
            self._grow(descriptor)
        self._stages[descriptor] = stage
        self._counts[stage] += 1
        self._accepted[descriptor] = int(now * _TICKS_PER_S) % _TICKS
        self._numbers[descriptor] = number
        self._holds[number] += 1

    def remove(self, descriptor: int) -> None:
        """Forget the descriptor."""
        if self._pending:
            self.take_pending(descriptor)
        stages, keys = self._stages, self._keys
        self._counts[stages[descriptor]] -= 1
        stages[descriptor] = _FREE
        if descriptor < len(keys):
            keys[descriptor] = None
        self.dismiss(self._numbers[descriptor])

    def stage(self, descriptor: int) -> int:
        """What the descriptor waits for; ``FREE`` where it is unknown."""
        return self._stages[descriptor] if descriptor < len(self._stages) else _FREE

    def advance(self, descriptor: int, stage: Stage) -> None:
        """It waits for something else now."""
        counts = self._counts
        counts[self._stages[descriptor]] -= 1
        counts[stage] += 1
        self._stages[descriptor] = stage

    def origin(self, descriptor: int) -> Origin:
        """Where it comes from."""
        origin = self._origins[self._numbers[descriptor]]
        if origin is None or not self._stages[descriptor]:
            raise KeyError(descriptor)
        return origin

    def key(self, descriptor: int) -> bytes | None:
        """Its 5-tuple, where it was stored."""
        return self._keys[descriptor] if descriptor < len(self._keys) else None

    def store_key(self, descriptor: int, five_tuple: bytes) -> None:
        """Keep its 5-tuple: the key of its table entry, the same object."""
        keys = self._keys
        if descriptor >= len(keys):
            keys.extend([None] * (max(descriptor + 1, len(keys) * 9 // 8) - len(keys)))
        keys[descriptor] = five_tuple

    def holder(self, five_tuple: bytes) -> int | None:
        """Who is to reply under this key: a walk over all, for the rare reconnect from a port.

        One that was refused or is lent has had it before.
        """
        found = -1
        try:
            while True:
                found = self._keys.index(five_tuple, found + 1)
                if self._stages[found] == _REPLY:
                    return found
        except ValueError:
            return None

    def age_s(self, descriptor: int, now: float) -> float:
        """Seconds since it was accepted: never too many, less than a half too few."""
        ticks = (int(now * _TICKS_PER_S) - self._accepted[descriptor]) % _TICKS
        return max(0, ticks - 1) / _TICKS_PER_S

    # --- messages that are not whole ---------------------------------------------------

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

    # --- reports -------------------------------------------------------------------------

    def in_stage(self, stage: Stage) -> Iterator[int]:
        """Descriptors that wait for this: a walk over all, for reports only."""
        return (number for number, one in enumerate(self._stages) if one == stage)

    def known(self) -> list[int]:
        """Every descriptor there is."""
        return [number for number, one in enumerate(self._stages) if one]

    def _grow(self, descriptor: int) -> None:
        # By an eighth: a client that only waits costs its cells and little more.
        size = len(self._stages)
        more = max(descriptor + 1, size * 9 // 8) - size
        self._stages.frombytes(bytes(more))
        self._accepted.frombytes(bytes(2 * more))
        self._numbers.frombytes(bytes(2 * more))


def _size(pending: HelloReader | bytes) -> int:
    return len(pending) if isinstance(pending, bytes) else pending.buffered
