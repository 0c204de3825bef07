"""Scripts: inputs that say what a peer does, step by step.

Random bytes pass no AEAD and no MAC, so most targets take a script instead: each step is an
operation, a 16-bit length and that many bytes. Whatever the bytes are, they are a script; a last
step that is cut short has what is there.
"""

from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["packed", "steps"]

_LONGEST: Final = 0xFFFF


def steps(data: bytes, operations: int) -> Iterator[tuple[int, bytes]]:
    """The steps of a script; an operation counts modulo ``operations``."""
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position + 1 : position + 3])
        yield data[position] % operations, data[position + 3 : position + 3 + size]
        position += 3 + size


def packed(script: Iterable[tuple[int, bytes]]) -> bytes:
    """The inverse; content beyond 16 bits is cut."""
    return b"".join(
        operation.to_bytes(1) + len(content[:_LONGEST]).to_bytes(2) + content[:_LONGEST]
        for operation, content in script
    )
