"""``TlsContext``: the portable value of one TLS connection, one frozen type a stage.

The byte form is versioned and tagged with its stage, so that a reader of another version
refuses it instead of misreading it. Whoever holds a context owns the connection.
"""

from dataclasses import dataclass
from typing import Final

from proxy.tls.secret import Secret
from proxy.tls.suites import PARAMETERS
from proxy.wire import CipherSuite, DecodeError, NamedGroup, Reader, u8_vector, u16_vector

__all__ = ["Established", "Retried", "TlsContext", "decode_context", "encode_context"]

_VERSION: Final = 1
_RETRIED: Final = 2
_ESTABLISHED: Final = 4
_BULK_LIMIT: Final = 1 << 28
# To look a number up is a fifth of what the enum's own conversion costs.
_SUITES: Final = {int(suite): suite for suite in CipherSuite}
_GROUPS: Final = {int(group): group for group in NamedGroup}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """After a HelloRetryRequest was answered by a second hello.

    ``first_hash`` is the first hello's transcript hash, ``retry_request`` the message we sent,
    ``hello`` the second hello's whole message, ``unread`` what came behind it.
    """

    suite: CipherSuite
    group: NamedGroup
    first_hash: bytes
    retry_request: bytes
    hello: bytes
    unread: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Established:
    """A connection that carries application data.

    ``read_secret`` is the client's current application traffic secret, ``write_secret`` ours;
    the sequence numbers count records under them. ``update_owed``: the client asked for a
    KeyUpdate that we have not sent. ``read_closed`` and ``write_closed``: close_notify came, went.
    ``partial`` is the opened start of a handshake message, ``unread`` is ciphertext not opened
    yet, ``unsent`` is ciphertext not written yet. ``name_index`` is the listener's entry for the
    name.
    """

    suite: CipherSuite
    group: NamedGroup
    server_name: str | None
    alpn: str | None
    name_index: int
    read_secret: Secret
    read_sequence: int
    write_secret: Secret
    write_sequence: int
    update_owed: bool = False
    read_closed: bool = False
    write_closed: bool = False
    partial: bytes = b""
    unread: bytes = b""
    unsent: bytes = b""


TlsContext = Retried | Established


def encode_context(context: TlsContext) -> bytes:
    """The versioned byte form."""
    if isinstance(context, Retried):
        return b"".join(
            (
                bytes((_VERSION, _RETRIED)),
                context.suite.to_bytes(2),
                context.group.to_bytes(2),
                u8_vector(context.first_hash),
                u16_vector(context.retry_request),
                _bulk(context.hello),
                _bulk(context.unread),
            )
        )
    return b"".join(
        (
            bytes((_VERSION, _ESTABLISHED)),
            context.suite.to_bytes(2),
            context.group.to_bytes(2),
            u8_vector((context.server_name or "").encode()),
            u8_vector((context.alpn or "").encode()),
            context.name_index.to_bytes(2),
            u8_vector(context.read_secret.reveal()),
            context.read_sequence.to_bytes(8),
            u8_vector(context.write_secret.reveal()),
            context.write_sequence.to_bytes(8),
            bytes((context.update_owed, context.read_closed, context.write_closed)),
            u8_vector(context.partial),
            _bulk(context.unread),
            _bulk(context.unsent),
        )
    )


def decode_context(data: bytes) -> TlsContext:
    """The inverse; ``DecodeError`` for another version, an unknown stage or malformed bytes."""
    reader = Reader(data)
    if reader.u8() != _VERSION:
        raise DecodeError("context_version")
    stage = reader.u8()
    suite, group = _SUITES.get(reader.u16()), _GROUPS.get(reader.u16())
    if suite is None or group is None:
        raise DecodeError("context_parameters")
    context: TlsContext
    if stage == _ESTABLISHED:
        context = _established(reader, suite, group)
    elif stage == _RETRIED:
        context = _retried(reader, suite, group)
    else:
        raise DecodeError("context_stage")
    reader.finish()
    return context


def _retried(reader: Reader, suite: CipherSuite, group: NamedGroup) -> Retried:
    first_hash = reader.vector8()
    if len(first_hash) != PARAMETERS[suite].hash_size:
        raise DecodeError("context_hash")
    return Retried(
        suite=suite,
        group=group,
        first_hash=first_hash,
        retry_request=reader.vector16(),
        hello=_read_bulk(reader),
        unread=_read_bulk(reader),
    )


def _established(reader: Reader, suite: CipherSuite, group: NamedGroup) -> Established:
    try:
        return Established(
            suite=suite,
            group=group,
            server_name=reader.vector8().decode() or None,
            alpn=reader.vector8().decode() or None,
            name_index=reader.u16(),
            read_secret=_secret(reader, suite),
            read_sequence=reader.u64(),
            write_secret=_secret(reader, suite),
            write_sequence=reader.u64(),
            update_owed=_flag(reader),
            read_closed=_flag(reader),
            write_closed=_flag(reader),
            partial=reader.vector8(),
            unread=_read_bulk(reader),
            unsent=_read_bulk(reader),
        )
    except UnicodeDecodeError:
        raise DecodeError("context_text") from None


def _secret(reader: Reader, suite: CipherSuite) -> Secret:
    secret = reader.vector8()
    if len(secret) != PARAMETERS[suite].hash_size:
        raise DecodeError("context_secret")
    return Secret(secret)


def _flag(reader: Reader) -> bool:
    flag = reader.u8()
    if flag > 1:
        raise DecodeError("context_flag")
    return bool(flag)


def _bulk(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data


def _read_bulk(reader: Reader) -> bytes:
    size = reader.u32()
    if size > _BULK_LIMIT:
        raise DecodeError("context_size")
    return reader.opaque(size)
