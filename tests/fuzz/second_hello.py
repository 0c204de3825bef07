"""Target: a first hello, and what follows the HelloRetryRequest that it was answered by.

The input is a byte that says which of our groups are out of use, a 16-bit length, a first hello's
message of that length, and a script of what comes then (`Step`). A placeholder stands for the
cookie, because the real one depends on the first hello. Asserted: segmentation changes nothing; a
second hello redeems exactly where an independent reading of RFC 8446, Section 4.1.2, allows it;
what redeems can be carried, is answered or refused with an alert, and is never established without
a Finished.
"""

from enum import IntEnum
from functools import cache
from typing import Final

from proxy.tls import (
    EARLY_DATA_LIMIT,
    Flight,
    HelloReader,
    NeedMore,
    Retried,
    RetryNeeded,
    TlsError,
    WholeHello,
    answer,
    decode_context,
    encode_context,
    finish,
    plan_retry,
    redeem,
    retry,
)
from proxy.wire import ClientHello, NamedGroup
from tests.fuzz import reading as rfc
from tests.fuzz.hello import ENTROPY, check_flight, check_retry, collected
from tests.fuzz.reading import ClientReading, Malformed, read_client_hello, rebuilt
from tests.fuzz.rules import CONNECTION, COOKIE_KEY, ISSUED_AT, check, policy
from tests.fuzz.scripts import steps
from tests.tls.hello import Share

__all__ = ["PLACEHOLDER", "Step", "Turn", "may_follow", "rightful_second", "second_hello"]

PLACEHOLDER: Final = b"the cookie"


class Step(IntEnum):
    """What the client does; the content says with what."""

    RAW = 0
    """The content, as a segment."""
    RIGHT = 1
    """The second hello that the RFC asks for, in records of (content's first byte) * 16 bytes."""
    EDITED = 2
    """The same with edits: four bytes each, see `_edit`."""
    MESSAGE = 3
    """The content is a hello's message; a placeholder in it becomes the cookie."""
    EARLY_DATA = 4
    """The content as an application data record."""


class Turn:
    """A first hello that was answered by a retry; of the message only what follows its header."""

    def __init__(self, message: bytes, without: int = 0) -> None:
        self.message = b"\1" + len(message[4:]).to_bytes(3) + message[4:]
        decoded = ClientHello.decode(self.message)
        self.first = read_client_hello(self.message)
        self.needed: RetryNeeded = plan_retry(decoded, policy(without))
        sent = retry(
            decoded, self.needed.suite, self.needed.group, COOKIE_KEY, CONNECTION, ISSUED_AT
        )
        self.cookie = check_retry(sent, self.first, self.needed)
        self.asked = self.needed.group not in dict(self.first.shares)


def second_hello(data: bytes) -> str:
    """The target; says how far it came."""
    size = int.from_bytes(data[1:3])
    try:
        turn = Turn(data[3 : 3 + size], sum(data[:1]))
    except TlsError as error:
        return check(error)[0]
    segments = [
        _bytes_of(turn, step, content) for step, content in steps(data[3 + size :], len(Step))
    ]
    skip = EARLY_DATA_LIMIT if rfc.EARLY_DATA in turn.first.numbers else 0
    whole = collected(HelloReader(second=True, skip=skip), segments)
    stream = b"".join(segments)
    assert collected(HelloReader(second=True, skip=skip), [stream]) == whole
    tiny = [stream[at : at + 1] for at in range(12)]
    assert collected(HelloReader(second=True, skip=skip), [*tiny, stream[12:]]) == whole
    if isinstance(whole, WholeHello):
        return _check_second(turn, whole)
    return "waiting" if whole is None else whole[0]


def _check_second(turn: Turn, whole: WholeHello) -> str:
    try:
        allowed = may_follow(turn, read_client_hello(whole.message))
    except Malformed:
        allowed = False
    try:
        decoded = ClientHello.decode(whole.message)
        retried = redeem(decoded, whole.unread, (COOKIE_KEY,), CONNECTION, ISSUED_AT + 1)
    except TlsError as error:
        assert not allowed, check(error)
        return check(error)[0]
    assert allowed, "redeemed, and not allowed"
    assert retried.hello == whole.message
    assert retried.unread == whole.unread
    assert decode_context(encode_context(retried)) == retried
    return _check_answer(retried, read_client_hello(whole.message))


def _check_answer(retried: Retried, second: ClientReading) -> str:
    try:
        flight = answer(retried, policy(), ENTROPY)
    except TlsError as error:
        return check(error)[0]
    assert isinstance(flight, Flight)
    only = [(group, share) for group, share in second.shares if group == retried.group]
    second.values[rfc.KEY_SHARE] = only
    check_flight(flight, second, compatible=False)
    try:
        assert isinstance(finish(flight.half_open, retried.unread), NeedMore)
    except TlsError as error:
        return check(error)[0]
    return "answered"


def may_follow(turn: Turn, second: ClientReading) -> bool:
    """RFC 8446, Section 4.1.2, read anew: what a second hello may change, and what it must."""
    first, group = turn.first, turn.needed.group
    mutable = {rfc.COOKIE, rfc.EARLY_DATA, rfc.PRE_SHARED_KEY, rfc.PADDING}
    if turn.asked:
        mutable.add(rfc.KEY_SHARE)
        if [one for one, _ in second.shares] != [group]:
            return False
    same = (
        second.legacy_version == first.legacy_version
        and second.random == first.random
        and second.session_id == first.session_id
        and second.cipher_suites == first.cipher_suites
        and second.compression_methods == first.compression_methods
        and _without(second, mutable) == _without(first, mutable)
    )
    modes = rfc.PRE_SHARED_KEY not in second.numbers or rfc.PSK_MODES in second.numbers
    cookie: object = second.values.get(rfc.COOKIE)
    return same and modes and cookie == turn.cookie and rfc.EARLY_DATA not in second.numbers


def _without(hello: ClientReading, numbers: set[int]) -> list[tuple[int, bytes]]:
    return [one for one in hello.extensions if one[0] not in numbers]


@cache
def _share(group: NamedGroup) -> bytes:
    return Share.new(group).key_exchange


def rightful_second(turn: Turn, cookie: bytes) -> ClientReading:
    """The second hello that the RFC asks for: a cookie, the share, no early data."""
    kept = _without(turn.first, {rfc.EARLY_DATA})
    if turn.asked:
        share = _share(turn.needed.group)
        entry = turn.needed.group.to_bytes(2) + len(share).to_bytes(2) + share
        wanted = (rfc.KEY_SHARE, len(entry).to_bytes(2) + entry)
        kept = [wanted if one[0] == rfc.KEY_SHARE else one for one in kept]
    # pre_shared_key stays the last one.
    end = len(kept) - (rfc.PRE_SHARED_KEY in turn.first.numbers)
    kept.insert(end, (rfc.COOKIE, len(cookie).to_bytes(2) + cookie))
    return _with_extensions(turn.first, kept)


def _with_extensions(hello: ClientReading, extensions: list[tuple[int, bytes]]) -> ClientReading:
    return ClientReading(
        hello.legacy_version,
        hello.random,
        hello.session_id,
        hello.cipher_suites,
        hello.compression_methods,
        extensions,
    )


def _bytes_of(turn: Turn, step: int, content: bytes) -> bytes:
    match Step(step):
        case Step.RAW:
            return content
        case Step.RIGHT:
            return _records(rebuilt(rightful_second(turn, turn.cookie)), 16 * sum(content[:1]))
        case Step.EDITED:
            return _records(_edited(rightful_second(turn, turn.cookie), content))
        case Step.MESSAGE:
            return _records(_with_cookie(content, turn.cookie))
        case Step.EARLY_DATA:
            return b"\x17\3\3" + len(content).to_bytes(2) + content


def _records(message: bytes, size: int = 0) -> bytes:
    size = size or 1 << 14
    pieces = (message[at : at + size] for at in range(0, len(message), size))
    return b"".join(b"\x16\3\3" + len(piece).to_bytes(2) + piece for piece in pieces)


def _with_cookie(message: bytes, cookie: bytes) -> bytes:
    """The message with the cookie in the placeholder's place."""
    placeholder = (rfc.COOKIE, len(PLACEHOLDER).to_bytes(2) + PLACEHOLDER)
    real = (rfc.COOKIE, len(cookie).to_bytes(2) + cookie)
    try:
        found = read_client_hello(message)
    except Malformed:
        return message
    found.extensions = [real if one == placeholder else one for one in found.extensions]
    return rebuilt(found)


def _edited(hello: ClientReading, script: bytes) -> bytes:
    """The message after all edits; those of bytes come last, since they may end its structure."""
    edits = [script[at : at + 4] for at in range(0, len(script) - 3, 4)]
    for edit in edits:
        _edit(hello.extensions, edit[0] % 8, edit[1] << 8 | edit[2], edit[3])
    message = bytearray(rebuilt(hello))
    for edit in edits:
        if edit[0] % 8 == 0:
            message[4 + (edit[1] << 8 | edit[2]) % (len(message) - 4)] ^= edit[3]
    return bytes(message)


def _edit(extensions: list[tuple[int, bytes]], kind: int, at: int, value: int) -> None:
    index = at % len(extensions)
    number, content = extensions[index]
    match kind:
        case 1:
            del extensions[index]
        case 2:
            extensions.insert(value % len(extensions), extensions.pop(index))
        case 3:
            extensions.insert(value % len(extensions), (at, content))
        case 4:
            extensions[index] = (number, content[:value])
        case 5:
            extensions.append((rfc.PADDING, bytes(value)))
        case 6:
            extensions[index] = (number, content + bytes((value,)))
        case 7:
            extensions.append((at, b""))
    if not extensions:
        extensions.append((rfc.PADDING, b""))
