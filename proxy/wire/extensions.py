"""The extensions of a ClientHello as one table: code point, decoder, defining text.

An extension that is not in the table is remembered by its number only (RFC 8446, Section 4.2:
"implementations MUST ignore unrecognized extensions"). Duplicates and misplaced ones are refused
by the walk over the block, not by each decoder. A decoder takes the extension's bytes and is
strict: empty lists where the RFC forbids them and trailing bytes are errors.

Decoders run for every hello of a flood: they index and slice instead of building readers, shift
instead of calling, and look numbers up as plain ``int``. What most clients repeat word for word
(lists of algorithms, names, protocols) is remembered by its bytes. No peer can make that large or
slow: the entries are few and short, the oldest goes first, and a miss costs little more than to
decode.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

from proxy.wire.errors import DecodeError
from proxy.wire.registry import AlertDescription, ExtensionType

__all__ = [
    "DECODERS",
    "KeyShareEntry",
    "Span",
    "decode_changeable",
    "decode_extensions",
    "u16_numbers",
    "walk",
]

_HEADER: Final = Struct(">HH")
_unpack_header = _HEADER.unpack_from
_PRE_SHARED_KEY: Final = int(ExtensionType.PRE_SHARED_KEY)
# How many values of each extension are remembered, and from how many bytes at most.
_REMEMBERED: Final = 256
_REMEMBERED_SIZE: Final = 256


class KeyShareEntry(NamedTuple):
    """``struct KeyShareEntry`` (RFC 8446, Section 4.2.8)."""

    group: int
    key_exchange: bytes


@lru_cache(maxsize=256)
def u16_numbers(count: int) -> Struct:
    """Reads ``count`` 16-bit numbers at once."""
    return Struct(f">{count}H")


def _u16_list(data: bytes) -> tuple[int, ...]:
    """A non-empty list of 16-bit numbers behind a 16-bit length."""
    size = len(data) - 2
    if size < 2 or size & 1 or (data[0] << 8 | data[1]) != size:
        raise DecodeError("bad_list")
    return u16_numbers(size >> 1).unpack_from(data, 2)


def _supported_versions(data: bytes) -> tuple[int, ...]:
    # RFC 8446, Section 4.2.1: ProtocolVersion versions<2..254>.
    size = len(data) - 1
    if size < 2 or size & 1 or data[0] != size:
        raise DecodeError("bad_supported_versions")
    return u16_numbers(size >> 1).unpack_from(data, 1)


def _key_share(data: bytes) -> tuple[KeyShareEntry, ...]:
    # RFC 8446, Section 4.2.8: KeyShareEntry client_shares<0..2^16-1>; empty asks for a retry.
    end = len(data)
    if end < 2 or (data[0] << 8 | data[1]) != end - 2:
        raise DecodeError("bad_key_share")
    shares = []
    position = 2
    while position < end:
        if end - position < 4:
            raise DecodeError("bad_key_share")
        group, size = _HEADER.unpack_from(data, position)
        position += 4
        if size == 0 or size > end - position:
            raise DecodeError("bad_key_share")
        shares.append(KeyShareEntry(group, data[position : position + size]))
        position += size
    return tuple(shares)


def _server_name(data: bytes) -> bytes | None:
    # RFC 6066, Section 3: ServerName server_name_list<1..2^16-1>; one host_name at most.
    end = len(data)
    if end < 5 or (data[0] << 8 | data[1]) != end - 2:
        raise DecodeError("bad_server_name")
    found = None
    position = 2
    while position < end:
        if end - position < 3:
            raise DecodeError("bad_server_name")
        name_type = data[position]
        size = data[position + 1] << 8 | data[position + 2]
        position += 3
        if size > end - position:
            raise DecodeError("bad_server_name")
        if name_type == 0:
            if found is not None or size == 0:
                raise DecodeError("bad_server_name", AlertDescription.ILLEGAL_PARAMETER)
            found = data[position : position + size]
        position += size
    return found


def _application_layer_protocol_negotiation(data: bytes) -> tuple[bytes, ...]:
    # RFC 7301, Section 3.1: ProtocolName protocol_name_list<2..2^16-1>; no empty name.
    end = len(data)
    if end < 4 or (data[0] << 8 | data[1]) != end - 2:
        raise DecodeError("bad_alpn")
    names = []
    position = 2
    while position < end:
        size = data[position]
        position += 1
        if size == 0 or size > end - position:
            raise DecodeError("bad_alpn")
        names.append(data[position : position + size])
        position += size
    return tuple(names)


def _cookie(data: bytes) -> bytes:
    # RFC 8446, Section 4.2.2: opaque cookie<1..2^16-1>.
    if len(data) < 3 or int.from_bytes(data[:2]) != len(data) - 2:
        raise DecodeError("bad_cookie")
    return data[2:]


def _psk_key_exchange_modes(data: bytes) -> bytes:
    # RFC 8446, Section 4.2.9: PskKeyExchangeMode ke_modes<1..255>.
    if len(data) < 2 or data[0] != len(data) - 1:
        raise DecodeError("bad_psk_key_exchange_modes")
    return data[1:]


def _early_data(data: bytes) -> bool:
    # RFC 8446, Section 4.2.10: empty in a ClientHello.
    if data:
        raise DecodeError("bad_early_data")
    return True


def _pre_shared_key(data: bytes) -> bytes:
    # RFC 8446, Section 4.2.11: identities<7..2^16-1>, binders<33..2^16-1>, one binder each.
    end = len(data)
    if end < 2:
        raise DecodeError("bad_pre_shared_key")
    split = 2 + int.from_bytes(data[:2])
    if split < 9 or split + 2 > end or int.from_bytes(data[split : split + 2]) != end - split - 2:
        raise DecodeError("bad_pre_shared_key")
    identities = _count_items(data[2:split], prefix=2, suffix=4, least=1)
    binders = _count_items(data[split + 2 :], prefix=1, suffix=0, least=32)
    if identities != binders or not binders:
        # RFC 8446, Section 4.2.11: the binders are in the identities' order, one for each.
        raise DecodeError("binder_count", AlertDescription.ILLEGAL_PARAMETER)
    return data


def _count_items(data: bytes, *, prefix: int, suffix: int, least: int) -> int:
    """How many length-prefixed items of at least ``least`` bytes fill ``data`` exactly."""
    position = count = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + prefix])
        position += prefix + size + suffix
        if size < least or position > len(data):
            raise DecodeError("bad_pre_shared_key")
        count += 1
    return count


_TABLE: Final[dict[ExtensionType, Callable[[bytes], object]]] = {
    ExtensionType.SERVER_NAME: _server_name,  # RFC 6066, Section 3
    ExtensionType.SUPPORTED_GROUPS: _u16_list,  # RFC 8446, Section 4.2.7
    ExtensionType.SIGNATURE_ALGORITHMS: _u16_list,  # RFC 8446, Section 4.2.3
    ExtensionType.APPLICATION_LAYER_PROTOCOL_NEGOTIATION: _application_layer_protocol_negotiation,
    ExtensionType.PRE_SHARED_KEY: _pre_shared_key,  # RFC 8446, Section 4.2.11
    ExtensionType.EARLY_DATA: _early_data,  # RFC 8446, Section 4.2.10
    ExtensionType.SUPPORTED_VERSIONS: _supported_versions,  # RFC 8446, Section 4.2.1
    ExtensionType.COOKIE: _cookie,  # RFC 8446, Section 4.2.2
    ExtensionType.PSK_KEY_EXCHANGE_MODES: _psk_key_exchange_modes,  # RFC 8446, Section 4.2.9
    ExtensionType.SIGNATURE_ALGORITHMS_CERT: _u16_list,  # RFC 8446, Section 4.2.3
    ExtensionType.KEY_SHARE: _key_share,  # RFC 8446, Section 4.2.8
}
DECODERS: Final = {int(number): decoder for number, decoder in _TABLE.items()}
# Another value in every hello: not worth remembering.
_FRESH: Final = (ExtensionType.PRE_SHARED_KEY, ExtensionType.COOKIE, ExtensionType.KEY_SHARE)
_REMEMBERING: Final[dict[int, Callable[[bytes], object]]] = {
    number: decoder if number in _FRESH else lru_cache(_REMEMBERED)(decoder)
    for number, decoder in DECODERS.items()
}

Span = tuple[int, int, int]
"""Code point of an extension, where it starts (with its header) and ends in the message."""
# RFC 8446, Section 4.1.2: what a client may change in its second hello.
_CHANGEABLE: Final = frozenset(
    (
        int(ExtensionType.KEY_SHARE),
        int(ExtensionType.EARLY_DATA),
        int(ExtensionType.COOKIE),
        int(ExtensionType.PRE_SHARED_KEY),
        int(ExtensionType.PADDING),
    )
)


def decode_extensions(block: bytes) -> dict[int, object]:
    """``Extension extensions<8..2^16-1>`` without its length: code point -> decoded value.

    Unknown extensions keep their raw bytes, in the order of the hello.
    """
    return walk(block, 0)[0]


def decode_changeable(
    message: bytes, changeable: tuple[Span, ...], others: Mapping[int, object]
) -> dict[int, object]:
    """What ``walk`` finds in a message that differs in the changeable ones' data alone."""
    values = dict(others)
    for number, start, stop in changeable:
        data = message[start + 4 : stop]
        decoder = DECODERS.get(number)
        values[number] = data if decoder is None else decoder(data)
    return values


def walk(message: bytes, position: int) -> tuple[dict[int, object], tuple[Span, ...]]:
    """Decode what stands from ``position`` on; also where the changeable ones are."""
    values: dict[int, object] = {}
    changeable: list[Span] = []
    end = len(message)
    while position < end:
        if end - position < 4:
            raise DecodeError("truncated_extension")
        number, size = _unpack_header(message, position)
        stop = position + 4 + size
        if stop > end:
            raise DecodeError("truncated_extension")
        if number in values:
            # RFC 8446, Section 4.2: no more than one extension of the same type.
            raise DecodeError("duplicate_extension", AlertDescription.ILLEGAL_PARAMETER)
        data = message[position + 4 : stop]
        decoder = (_REMEMBERING if size <= _REMEMBERED_SIZE else DECODERS).get(number)
        values[number] = data if decoder is None else decoder(data)
        if number in _CHANGEABLE:
            changeable.append((number, position, stop))
        position = stop
    # RFC 8446, Section 4.2.11: pre_shared_key MUST be the last extension.
    if _PRE_SHARED_KEY in values and number != _PRE_SHARED_KEY:
        raise DecodeError("pre_shared_key_not_last", AlertDescription.ILLEGAL_PARAMETER)
    return values, tuple(changeable)
