"""The buffers that all streams of a loop share, and how large they are.

Bytes of a bulk transfer are received into one, opened into another and sealed into a third, and
stay in the processor's cache meanwhile: new ones for each batch would cost a fifth of the transfer,
and a buffer for each connection is what many idle ones cannot have. Rule: what is in them is used
up before the loop runs anything else, so nobody suspends while holding a view of one.
"""

from __future__ import annotations

import threading
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

from proxy.tls import sent_size

# RFC 8446, Section 5.2: header 5, ciphertext at most 2^14 + 256.
RECORD_BYTES = 5 + 16384 + 256

# One system call's: 64 full records. Half as many take a tenth more time per byte, a quarter a
# third more; others wait for a millisecond.
RECEIVE_BYTES = 64 * 16384

# What they can hold in plaintext: a record that had begun before ends in them.
PLAINTEXT_BYTES = RECEIVE_BYTES + RECORD_BYTES


def _area(size: int) -> memoryview:
    """Zeros that take memory only once they are written: many a process never does."""
    return memoryview(mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS))


class _Buffers(threading.local):
    """A loop's, as each has its thread."""

    def __init__(self) -> None:
        self.received = _area(RECEIVE_BYTES)
        """From a socket, by a receiver."""
        self.opened = _area(PLAINTEXT_BYTES)
        """Its plaintext, where that is not the same."""
        self.sealed = _area(sent_size(PLAINTEXT_BYTES))
        """What a sender gives to a socket."""


buffers = _Buffers()
