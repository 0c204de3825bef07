"""Target: the first bytes of a connection, as they come.

Asserted: segmentation and the fast path change nothing; the limit on a hello is exact and bounds
what is held; the decoder and an independent reading take the same messages with the same values;
a flight or a HelloRetryRequest says what the hello asked for; no first hello redeems.
"""

import hashlib
from typing import Final

from proxy.tls import (
    HELLO_LIMIT,
    Flight,
    HelloReader,
    NeedMore,
    RetryNeeded,
    SystemEntropy,
    TlsError,
    WholeHello,
    answer,
    finish,
    plan_retry,
    read_hello,
    redeem,
    retry,
)
from proxy.tls.defaults import GROUPS, SUITES
from proxy.wire import ClientHello
from tests.fuzz.reading import (
    ClientReading,
    Malformed,
    ServerReading,
    read_client_hello,
    read_server_hello,
)
from tests.fuzz.rules import (
    CONNECTION,
    COOKIE_KEY,
    ISSUED_AT,
    LONGEST_RECORD,
    Refusal,
    check,
    policy,
    refused,
    strict_policy,
)
from tests.tls.material import FixedEntropy

__all__ = ["ENTROPY", "check_flight", "check_retry", "collected", "hello", "record_types"]

ENTROPY: Final = SystemEntropy()
_RETRY_RANDOM: Final = hashlib.sha256(b"HelloRetryRequest").digest()
# Its fixed part, three SHA-384 hashes, the longest name and the protocol.
_HALF_OPEN_LIMIT: Final = 16 + 3 * 48 + 253 + 8


def hello(data: bytes) -> str:
    """The target; says how far it came."""
    whole = _read([data])
    middle = len(data) // 2
    assert _read([data[:middle], data[middle:]]) == whole
    assert _read([*(data[at : at + 1] for at in range(12)), data[12:]]) == whole
    if isinstance(whole, WholeHello):
        _check_limit(data, whole.message)
        return _check_message(whole.message)
    return "waiting" if whole is None else whole[0]


def _read(segments: list[bytes]) -> WholeHello | Refusal | None:
    first, *rest = segments
    try:
        found = read_hello(first)
    except TlsError as error:
        return check(error)
    if isinstance(found, HelloReader):
        return collected(found, rest)
    return WholeHello(found.message, found.unread + b"".join(rest))


def collected(reader: HelloReader, segments: list[bytes]) -> WholeHello | Refusal | None:
    """What a reader makes of the segments: a hello with all that follows, an error, nothing yet."""
    for index, segment in enumerate(segments):
        try:
            whole = reader.receive(segment)
        except TlsError as error:
            return check(error)
        if whole is not None:
            return WholeHello(whole.message, whole.unread + b"".join(segments[index + 1 :]))
        assert reader.buffered <= HELLO_LIMIT + LONGEST_RECORD
    return None


def _check_limit(data: bytes, message: bytes) -> None:
    size = len(message)
    found = read_hello(data, size)
    assert isinstance(found, WholeHello)
    assert found.message == message
    refusal = refused(lambda: read_hello(data, size - 1))
    assert refusal is not None
    assert refusal[0] == "message_too_long"


def _check_message(message: bytes) -> str:
    reading: ClientReading | None = None
    try:
        reading = read_client_hello(message)
        decoded = ClientHello.decode(message)
    except Malformed:
        assert refused(lambda: ClientHello.decode(message)) is not None, "taken, and malformed"
        return "malformed"
    except TlsError as error:
        raise AssertionError(f"refused, and well-formed: {check(error)}") from error
    assert decoded.message == message
    assert decoded.legacy_version == reading.legacy_version
    assert decoded.random == reading.random
    assert decoded.session_id == reading.session_id
    assert decoded.cipher_suites == tuple(reading.cipher_suites)
    assert decoded.compression_methods == reading.compression_methods
    assert list(decoded.extensions) == reading.numbers
    for number, value in reading.values.items():
        assert decoded.extensions[number] == (tuple(value) if isinstance(value, list) else value)
    return _check_answer(decoded, reading)


def _check_answer(decoded: ClientHello, reading: ClientReading) -> str:
    assert refused(lambda: redeem(decoded, b"", (COOKIE_KEY,), CONNECTION, ISSUED_AT)) is not None
    try:
        needed = plan_retry(decoded, policy())
    except TlsError as error:
        # What cannot be answered by a retry cannot be answered at all, for the same reason.
        assert refused(lambda: answer(decoded, policy(), ENTROPY)) == check(error)
        return error.reason
    asked = retry(decoded, needed.suite, needed.group, COOKIE_KEY, CONNECTION, ISSUED_AT)
    check_retry(asked, reading, needed)
    try:
        answered = answer(decoded, policy(), ENTROPY)
    except TlsError as error:
        return check(error)[0]
    if isinstance(answered, RetryNeeded):
        assert answered == needed
        assert needed.group not in dict(reading.shares)
        return "retried"
    check_flight(answered, reading, compatible=bool(reading.session_id))
    _check_strict(decoded, reading)
    assert finish(answered.half_open, b"") == NeedMore(answered.half_open, 0)
    return "answered"


def _check_strict(decoded: ClientHello, reading: ClientReading) -> None:
    """A policy with an order of its own and no default name, for a hello that the other answers."""
    try:
        answered = answer(decoded, strict_policy(), FixedEntropy())
    except TlsError as error:
        assert check(error)[0] == "unknown_name"
        return
    assert isinstance(answered, Flight)
    suite = _server_hello(answered.data, reading).suite
    assert suite == next(suite for suite in SUITES if suite in reading.cipher_suites)


def check_retry(data: bytes, reading: ClientReading, needed: RetryNeeded) -> bytes:
    """A HelloRetryRequest fits the hello; its cookie."""
    server = _server_hello(data, reading)
    assert server.random == _RETRY_RANDOM
    assert server.suite == needed.suite.suite
    asked = {} if needed.group in dict(reading.shares) else {51: needed.group.to_bytes(2)}
    cookie = server.extensions.pop(44)
    assert server.extensions == {43: b"\3\4", **asked}
    assert record_types(data) == ([22, 20] if reading.session_id else [22])
    assert int.from_bytes(cookie[:2]) == len(cookie) - 2
    return cookie[2:]


def check_flight(flight: Flight, reading: ClientReading, *, compatible: bool) -> None:
    """A flight fits the hello; ``compatible``: a change_cipher_spec record belongs to it."""
    server = _server_hello(flight.data, reading)
    assert server.random != _RETRY_RANDOM
    assert server.suite == next(suite for suite in reading.cipher_suites if suite in SUITES)
    offered = dict(reading.shares)
    group = next(group for group in GROUPS if group in offered)
    share = server.extensions.pop(51)
    assert server.extensions == {43: b"\3\4"}
    assert int.from_bytes(share[:2]) == group
    assert int.from_bytes(share[2:4]) == len(share) - 4
    assert flight.scheme in decoded_schemes(reading)
    types = record_types(flight.data)
    opening = [22, 20] if compatible else [22]
    assert types[: len(opening)] == opening
    assert set(types[len(opening) :]) == {23}
    assert len(flight.half_open) <= _HALF_OPEN_LIMIT


def decoded_schemes(reading: ClientReading) -> list[int]:
    """signature_algorithms."""
    found = reading.values[13]
    assert isinstance(found, list)
    return found


def _server_hello(data: bytes, reading: ClientReading) -> ServerReading:
    server = read_server_hello(data[5 : 5 + int.from_bytes(data[3:5])])
    assert server.session_id == reading.session_id
    return server


def record_types(data: bytes) -> list[int]:
    """Content types of the records; ours all say TLS 1.2 and are not empty."""
    types = []
    while data:
        size = int.from_bytes(data[3:5])
        assert data[1:3] == b"\3\3"
        assert 0 < size <= len(data) - 5
        types.append(data[0])
        data = data[5 + size :]
    return types
