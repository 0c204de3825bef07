"""The invariant: any bytes give bytes, a value, an event or our error. One function a target.

`hello_bytes` and `context` take the input as it is. Random bytes do not pass an AEAD, so for
`reply` and `records` the input is a script: each step is an operation, a 16-bit length and that
many bytes, which go out as they are, or sealed as a TLSInnerPlaintext, or behind new keys.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Final

from proxy.tls import (
    Connection,
    Credential,
    Established,
    Flight,
    HelloReader,
    NeedMore,
    PeerMisbehaved,
    Policy,
    RetryNeeded,
    Secret,
    ServerName,
    SystemEntropy,
    TlsError,
    answer,
    decode_context,
    encode_context,
    finish,
    half_open_alert,
    plan_retry,
    read_hello,
    redeem,
    retry,
)
from proxy.tls.defaults import HELLO_LIMIT
from proxy.tls.protection import Sealer
from proxy.wire import (
    HEADER_SIZE,
    MAX_CIPHERTEXT,
    ClientHello,
    DecodeError,
    SignatureScheme,
    alert_record,
    certificate,
)
from tests.tls.client import Client, Unverified, seal_inner
from tests.tls.hello import hello
from tests.tls.material import NAME, FixedSigner

__all__ = ["TARGETS", "context", "hello_bytes", "records", "reply"]

_COOKIE_KEY: Final = Secret(bytes(32))
_CONNECTION: Final = b"connection"
_ENTROPY: Final = SystemEntropy()
_LONGEST_RECORD: Final = HEADER_SIZE + MAX_CIPHERTEXT
_SCHEMES: Final = (SignatureScheme.ECDSA_SECP256R1_SHA256, SignatureScheme.RSA_PSS_RSAE_SHA256)


@cache
def _policy() -> Policy:
    entry = ServerName(
        0,
        tuple(Credential(certificate([b"der"]), FixedSigner(one), frozenset()) for one in _SCHEMES),
        (b"http/1.1",),
    )
    return Policy(names={"localhost": entry, NAME: entry}, default=entry)


def hello_bytes(data: bytes) -> None:
    """The first bytes of a connection, whole and in two segments."""
    whole = _hello_of(data)
    middle = len(data) // 2
    assert _hello_of(data[:middle], data[middle:]) == whole
    if whole is None:
        return
    try:
        decoded = ClientHello.decode(whole)
        assert decoded.message == whole
        _answered(decoded)
        redeem(decoded, b"", (_COOKIE_KEY,), _CONNECTION, 1.0)
    except TlsError as error:
        _check(error)


def _hello_of(*segments: bytes) -> bytes | None:
    """The hello in the segments, or nothing where they end before it or are refused."""
    reader = HelloReader()
    try:
        found = read_hello(segments[0])
        if not isinstance(found, HelloReader):
            return found.message
        reader = found
        for segment in segments[1:]:
            whole = reader.receive(segment)
            if whole is not None:
                return whole.message
            assert reader.buffered <= HELLO_LIMIT + _LONGEST_RECORD
    except TlsError as error:
        _check(error)
    return None


def _answered(decoded: ClientHello) -> None:
    flight = answer(decoded, _policy(), _ENTROPY)
    needed = plan_retry(decoded, _policy())
    asked = retry(decoded, needed.suite, needed.group, _COOKIE_KEY, _CONNECTION, 0.0)
    assert asked.startswith(b"\x16\3\3")
    if isinstance(flight, RetryNeeded):
        assert flight == needed
        return
    assert flight.data.startswith(b"\x16\3\3")
    waiting = finish(flight.half_open, b"")
    assert waiting == NeedMore(flight.half_open, 0)


def reply(data: bytes) -> None:
    """What follows our flight; nothing but Finished may establish the connection."""
    client, half_open = _half_way()
    keys = Sealer(client.parameters, client.handshake.secret)
    kept = b""
    for piece in _script(data, keys):
        kept += piece
        try:
            result = finish(half_open, kept)
        except TlsError as error:
            _check(error)
            if error.alert is not None:
                assert half_open_alert(half_open, error.alert)
            return
        if isinstance(result, Established):
            assert len(result.unread) <= len(piece)
            return
        half_open, kept = result.half_open, kept[result.consumed :]
        assert len(kept) < _LONGEST_RECORD
        assert len(half_open) < 400


def records(data: bytes) -> None:
    """What follows Finished; the connection is moved after every piece."""
    client, established = _connected()
    keys = Sealer(client.parameters, client.sealer.secret)
    connection = Connection(established)
    for piece in _script(data, keys):
        try:
            connection.receive(piece)
            assert isinstance(connection.data_to_send(), bytes)
        except TlsError as error:
            _check(error)
            assert (connection.alert(error) == b"") == (error.alert is None)
            return
        exported = connection.export()
        assert len(exported.unread) < _LONGEST_RECORD
        assert len(exported.partial) < 5
        moved = decode_context(encode_context(exported))
        assert isinstance(moved, Established)
        connection = Connection(moved)


def context(data: bytes) -> None:
    """The byte form of a context; what decodes encodes to the same, and can be used."""
    try:
        decoded = decode_context(data)
    except DecodeError as error:
        _check(error)
        return
    assert encode_context(decoded) == data
    try:
        if isinstance(decoded, Established):
            Connection(decoded).receive(b"")
        else:
            answer(decoded, _policy(), _ENTROPY)
    except TlsError as error:
        _check(error)


def _check(error: TlsError) -> None:
    assert error.reason.replace("_", "").isalpha()
    assert error.alert is None or alert_record(error.alert)
    assert not isinstance(error, PeerMisbehaved) or error.alert is not None


def _script(data: bytes, keys: Sealer) -> Iterator[bytes]:
    while data:
        operation = data[0] % 3
        size = int.from_bytes(data[1:3])
        content, data = data[3 : 3 + size], data[3 + size :]
        if operation == 0:
            yield content
            continue
        if operation == 2:
            keys.update()
        yield seal_inner(keys, content[: 1 << 15])


@cache
def _half_way() -> tuple[Client, bytes]:
    client = Unverified(hello(early_data=True))
    client.start()
    flight = answer(ClientHello.decode(client.hello.encode()), _policy(), _ENTROPY)
    assert isinstance(flight, Flight)
    client.receive(flight.data)
    return client, flight.half_open


@cache
def _connected() -> tuple[Client, Established]:
    client, half_open = _half_way()
    keys = Sealer(client.parameters, client.handshake.secret)
    established = finish(half_open, seal_inner(keys, client.finished() + b"\x16"))
    assert isinstance(established, Established)
    return client, established


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "hello": hello_bytes,
    "reply": reply,
    "records": records,
    "context": context,
}
