"""Hellos that came before: what is decoded once need not be decoded again.

From one connection to the next a client changes little in its hello: the random, the session ID,
and what stands in a few extensions (key shares, a cookie, a ticket). The rest is its *shape*,
and what was decoded from a shape holds for every hello that has it, byte for byte.

Nothing here decides whether a hello is well-formed: a shape is only remembered once it was, and
what is not part of it is decoded every time. What is remembered is bounded in number and size, and
forgotten as a whole when it is full: a peer who sends ever new shapes makes us decode, no more.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from proxy.wire.extensions import Span

__all__ = ["Shape", "recall", "remember"]

_SHAPES: Final = 256
_SHAPE_SIZE: Final = 1024
_EXTENSION_HEADER: Final = 4


class Shape(NamedTuple):
    """What a ClientHello says beside its random and session ID.

    Of one that is remembered, ``extensions`` has no values of those in ``changeable``.
    """

    cipher_suites: tuple[int, ...]
    compression_methods: bytes
    extensions: Mapping[int, Any]
    extensions_start: int
    changeable: tuple[Span, ...]


# By the sizes of message and session ID: where the last such hello had its changeable extensions.
_layouts: Final[dict[int, tuple[Span, ...]]] = {}
_shapes: Final[dict[bytes, Shape]] = {}


def recall(message: bytes) -> Shape | None:
    """The shape of a hello that is at least a session ID's size long."""
    layout = _layouts.get(len(message) << 8 | message[38])
    if layout is None:
        return None
    shape = _shapes.get(_repeated(message, layout))
    # The same layout, not an equal one: then both messages were cut at the same places.
    return shape if shape is not None and shape.changeable is layout else None


def remember(message: bytes, shape: Shape) -> None:
    """For the next hello like this one."""
    if not shape.changeable:
        return  # without a layout of its own it could be taken for another hello's
    if shape.cipher_suites[0] & 0x0F0F == 0x0A0A:
        return  # RFC 8701: a client that greases makes up some of its hello each time
    sizes = len(message) << 8 | message[38]
    layout = _layouts.get(sizes)
    if layout != shape.changeable:
        layout = shape.changeable
    repeated = _repeated(message, layout)
    if len(repeated) > _SHAPE_SIZE:
        return
    if len(_shapes) >= _SHAPES or len(_layouts) >= _SHAPES:
        _shapes.clear()
        _layouts.clear()
    _layouts[sizes] = layout
    # Only places of what changes: its values are of this client, and as long as it likes.
    changing = {number for number, _, _ in layout}
    kept = {n: None if n in changing else value for n, value in shape.extensions.items()}
    _shapes[repeated] = shape._replace(extensions=kept, changeable=layout)


def _repeated(message: bytes, layout: tuple[Span, ...]) -> bytes:
    """All but header, version, random, session ID and the data of changeable extensions."""
    position = 39 + message[38]
    pieces = []
    for _, start, end in layout:
        pieces.append(message[position : start + _EXTENSION_HEADER])
        position = end
    pieces.append(message[position:])
    return b"".join(pieces)
