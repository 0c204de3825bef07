"""Length-prefixed vectors of RFC 8446, Section 3.4, read and written.

A ``Reader`` never returns short data and ``finish`` refuses trailing bytes, so a parser built
from it accepts exactly the structure it spells out.
"""

from proxy.wire.errors import DecodeError

__all__ = ["Reader", "u8_vector", "u16_vector", "u24_vector"]


class Reader:
    """Reads big-endian integers and vectors; every overrun is a ``DecodeError``."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._end = len(data)

    def opaque(self, length: int) -> bytes:
        """Exactly ``length`` bytes."""
        start = self._position
        end = start + length
        if end > self._end:
            raise DecodeError("truncated")
        self._position = end
        return self._data[start:end]

    def u8(self) -> int:
        position = self._position
        if position >= self._end:
            raise DecodeError("truncated")
        self._position = position + 1
        return self._data[position]

    def u16(self) -> int:
        position = self._position
        if position + 2 > self._end:
            raise DecodeError("truncated")
        self._position = position + 2
        return self._data[position] << 8 | self._data[position + 1]

    def u24(self) -> int:
        return int.from_bytes(self.opaque(3))

    def u32(self) -> int:
        return int.from_bytes(self.opaque(4))

    def u64(self) -> int:
        return int.from_bytes(self.opaque(8))

    def vector8(self) -> bytes:
        return self.opaque(self.u8())

    def vector16(self) -> bytes:
        return self.opaque(self.u16())

    def vector24(self) -> bytes:
        return self.opaque(self.u24())

    def remaining(self) -> bool:
        return self._position < self._end

    def finish(self) -> None:
        """Refuse trailing bytes."""
        if self._position != self._end:
            raise DecodeError("trailing_bytes")


def u8_vector(data: bytes) -> bytes:
    """``opaque data<0..2^8-1>``."""
    return len(data).to_bytes(1) + data


def u16_vector(data: bytes) -> bytes:
    """``opaque data<0..2^16-1>``."""
    return len(data).to_bytes(2) + data


def u24_vector(data: bytes) -> bytes:
    """``opaque data<0..2^24-1>``."""
    return len(data).to_bytes(3) + data
