"""Body framing: every case whole, byte by byte and with trailing data; any split is the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.errors import FramingError
from proxy.http.framing import (
    CHUNK_LINE_LIMIT,
    COMPLETE,
    LAST_CHUNK,
    TRAILER_LIMIT,
    Chunked,
    ChunkPhase,
    Framing,
    Length,
    NoBody,
    UntilClose,
    body_chunked,
    body_length,
    encode,
    encode_chunk,
    request_framing,
    response_framing,
)

TRAILING = b"GET /next HTTP/1.1\r\n"


def feed(framing: Framing, pieces: list[bytes]) -> tuple[bytes, Framing, bytes]:
    """Payload, framing and leftover after all the pieces."""
    payload = leftover = b""
    for piece in pieces:
        taken = framing.advance(leftover + piece if leftover else piece)
        payload += taken.payload
        framing, leftover = taken.framing, bytes(taken.leftover)
    return payload, framing, leftover


def one_by_one(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


GOOD: dict[str, tuple[Framing, bytes, bytes | None]] = {
    "nothing": (COMPLETE, b"", b""),
    "length": (Length(5), b"hello", b"hello"),
    "one chunk": (Chunked(), b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "chunks": (Chunked(), b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", b"hello"),
    "empty": (Chunked(), b"0\r\n\r\n", b""),
    "upper and lower hex": (Chunked(), b"A\r\n0123456789\r\nb\r\nabcdefghijk\r\n0\r\n\r\n", None),
    "leading zeros": (Chunked(), b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    "extension": (Chunked(), b"5;name=value\r\nhello\r\n0;last\r\n\r\n", b"hello"),
    "quoted extension": (Chunked(), b'5 ; a="b c"\r\nhello\r\n0\r\n\r\n', b"hello"),
    "trailers": (Chunked(), b"5\r\nhello\r\n0\r\nDigest: x\r\nE:\r\n\r\n", b"hello"),
    "CRLF as data": (Chunked(), b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    "last chunk as data": (Chunked(), b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
}


@pytest.mark.parametrize("framing", [Length(9), Length(5), Length(3), UntilClose()])
def test_a_body_without_chunks_is_not_copied(framing: Framing) -> None:
    buffer = bytearray(b"hello")
    payload = framing.advance(memoryview(buffer)).payload
    buffer[:] = b"HELLO"
    assert b"HELLO".startswith(encode(payload, chunked=False, last=False))
    assert payload


@pytest.mark.parametrize("case", GOOD)
@pytest.mark.parametrize("trailing", [b"", TRAILING], ids=["alone", "trailing"])
def test_a_whole_body_and_byte_by_byte(case: str, trailing: bytes) -> None:
    framing, wire, expected = GOOD[case]
    whole = feed(framing, [wire + trailing])
    assert isinstance(whole[1], NoBody)
    assert whole[2] == trailing
    if expected is not None:
        assert whole[0] == expected
    payload, after, leftover = feed(framing, one_by_one(wire))
    assert (payload, after, leftover) == (whole[0], whole[1], b"")


@pytest.mark.parametrize("case", GOOD)
def test_every_truncation_waits_for_more_and_may_not_end(case: str) -> None:
    framing, wire, _ = GOOD[case]
    for cut in range(len(wire)):
        _, after, leftover = feed(framing, [wire[:cut]])
        assert not after.complete
        assert leftover == b""
        with pytest.raises(FramingError, match="body_truncated"):
            after.end()


BAD = {
    "no size": b"\r\nhello\r\n",
    "not hex": b"5g\r\nhello\r\n",
    "0x": b"0x5\r\nhello\r\n",
    "sign": b"+5\r\nhello\r\n",
    "minus": b"-5\r\nhello\r\n",
    "underscore": b"1_0\r\n",
    "leading space": b" 5\r\nhello\r\n",
    "trailing space": b"5 \r\nhello\r\n",
    "too many digits": b"0000000000000005\r\nhello\r\n",
    "bare LF after size": b"5\nhello\r\n0\r\n\r\n",
    "bare LF in extension": b"5;a\nhello\r\n0\r\n\r\n",
    "bare CR in extension": b"5;a\rb\r\nhello\r\n",
    "NUL in extension": b"5;a\0b\r\nhello\r\n",
    "longer data than said": b"5\r\nhello!\r\n0\r\n\r\n",
    "bare LF after data": b"5\r\nhello\n0\r\n\r\n",
    "CR CR after data": b"5\r\nhello\r\r\n0\r\n\r\n",
    "size line without end": b"5;" + b"a" * CHUNK_LINE_LIMIT,
    "trailer without colon": b"0\r\nDigest\r\n\r\n",
    "trailer with a space before its colon": b"0\r\nDigest : x\r\n\r\n",
    "folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "bare LF in trailer": b"0\r\nA: b\nC: d\r\n\r\n",
    "NUL in trailer": b"0\r\nA: \0\r\n\r\n",
    "bare LF at the end": b"0\r\n\n",
    "trailers without end": b"0\r\n" + b"A: b\r\n" * (TRAILER_LIMIT // 6 + 1),
    "one endless trailer": b"0\r\nA: " + b"b" * TRAILER_LIMIT,
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_chunked_body_is_refused_whole_and_byte_by_byte(case: str) -> None:
    with pytest.raises(FramingError):
        feed(Chunked(), [BAD[case]])
    with pytest.raises(FramingError):
        feed(Chunked(), one_by_one(BAD[case]))


def test_the_longest_lines_are_accepted() -> None:
    wire = b"1;" + b"e" * (CHUNK_LINE_LIMIT - 2) + b"\r\nx\r\n0\r\n"
    wire += b"A:" + b"v" * (TRAILER_LIMIT - 4) + b"\r\n\r\n"
    assert feed(Chunked(), [wire]) == (b"x", COMPLETE, b"")
    assert feed(Chunked(), one_by_one(wire)) == (b"x", COMPLETE, b"")


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    trailers=st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:d\r\n"]),
)
def test_any_split_gives_the_same_payload(
    chunks: list[bytes], cuts: list[int], trailers: bytes
) -> None:
    wire = b"".join(map(encode_chunk, chunks)) + b"0\r\n" + trailers + b"\r\n" + TRAILING
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    pieces = [wire[a:b] for a, b in pairwise(edges)]
    assert feed(Chunked(), pieces) == (b"".join(chunks), COMPLETE, TRAILING)


SOUP = st.lists(
    st.one_of(
        st.sampled_from([b"5\r\nhello\r\n", b"0\r\n", b"\r\n", b"\n", b"\r", b"5", b";x", b"A: b"]),
        st.binary(max_size=6),
    ),
    max_size=8,
).map(b"".join)


@given(wire=SOUP, cut=st.integers(0, 80))
def test_any_bytes_give_payload_or_our_error_and_splits_agree(wire: bytes, cut: int) -> None:
    outcomes: list[object] = []
    for pieces in ([wire], [wire[:cut], wire[cut:]], one_by_one(wire)):
        try:
            outcomes.append(feed(Chunked(), pieces))
        except FramingError:
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_a_position_is_a_value() -> None:
    taken = Chunked().advance(b"5;x\r\nhel")
    assert taken.framing == Chunked(ChunkPhase.DATA, 2)
    assert Chunked().advance(b"5;x").framing == Chunked(partial=b"5;x")


def test_until_close_takes_everything_and_may_end() -> None:
    payload, after, leftover = feed(UntilClose(), [b"some", b"thing"])
    assert (payload, leftover) == (b"something", b"")
    assert not after.complete
    after.end()
    COMPLETE.end()


@given(payloads=st.lists(st.binary(max_size=50), max_size=5))
def test_what_is_encoded_decodes(payloads: list[bytes]) -> None:
    wire = b"".join(encode(payload, chunked=True, last=False) for payload in payloads)
    wire += encode(b"", chunked=True, last=True)
    assert feed(Chunked(), [wire]) == (b"".join(payloads), COMPLETE, b"")


def test_the_end_is_part_of_the_last_piece() -> None:
    assert encode(b"ab", chunked=True, last=True) == b"2\r\nab\r\n" + LAST_CHUNK
    assert encode(b"", chunked=True, last=False) == b""
    assert encode(b"ab", chunked=False, last=True) == b"ab"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([b"5", b"5"], "repeated_content_length"),
        ([b"5", b"6"], "repeated_content_length"),
        ([b"5, 5"], "bad_content_length"),
        ([b"5,6"], "bad_content_length"),
        ([b"+5"], "bad_content_length"),
        ([b"-1"], "bad_content_length"),
        ([b"0x5"], "bad_content_length"),
        ([b"5 "], "bad_content_length"),
        ([b""], "bad_content_length"),
        ([b"1_0"], "bad_content_length"),
        ([b"\xd9\xa5"], "bad_content_length"),
        ([b"9" * 19], "bad_content_length"),
    ],
)
def test_a_doubtful_content_length_is_refused(values: list[bytes], reason: str) -> None:
    with pytest.raises(FramingError, match=reason):
        body_length(values)


def test_a_plain_content_length_is_read() -> None:
    assert body_length([]) is None
    assert body_length([b"0"]) == 0
    assert body_length([b"9" * 18]) == 10**18 - 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([b"chunked", b"chunked"], "repeated_transfer_encoding"),
        ([b"gzip", b"chunked"], "repeated_transfer_encoding"),
        ([b"chunked, chunked"], "bad_transfer_encoding"),
        ([b"chunked, gzip"], "bad_transfer_encoding"),
        ([b"identity"], "bad_transfer_encoding"),
        ([b"xchunked"], "bad_transfer_encoding"),
        ([b"chunked;q=1"], "bad_transfer_encoding"),
        ([b"\x0bchunked"], "bad_transfer_encoding"),
        ([b'"chunked"'], "bad_transfer_encoding"),
        ([b"chunked,"], "bad_transfer_encoding"),
        ([b",chunked"], "bad_transfer_encoding"),
        ([b""], "bad_transfer_encoding"),
        ([b"gzip, chunked"], "unknown_transfer_coding"),
    ],
)
def test_a_doubtful_transfer_coding_is_refused(values: list[bytes], reason: str) -> None:
    with pytest.raises(FramingError, match=reason):
        body_chunked(values, minor_version=1, has_length=False)


def test_chunked_is_a_name_in_any_case_but_not_beside_a_length_or_in_1_0() -> None:
    assert not body_chunked([], minor_version=1, has_length=True)
    assert body_chunked([b"Chunked"], minor_version=1, has_length=False)
    with pytest.raises(FramingError, match="content_length_and_transfer_encoding"):
        body_chunked([b"chunked"], minor_version=1, has_length=True)
    with pytest.raises(FramingError, match="transfer_encoding_in_http_1_0"):
        body_chunked([b"chunked"], minor_version=0, has_length=False)


def test_request_framing_follows_rfc_9112_section_6_3() -> None:
    assert request_framing(None, False) == COMPLETE  # rule 7
    assert request_framing(0, False) == COMPLETE
    assert request_framing(3, False) == Length(3)  # rule 6
    assert request_framing(None, True) == Chunked()  # rule 4


@pytest.mark.parametrize(
    ("status", "length", "chunked", "to_head", "expected"),
    [
        (200, 5, False, True, COMPLETE),  # rule 1
        (204, None, False, False, COMPLETE),
        (304, 5, False, False, COMPLETE),
        (103, None, False, False, COMPLETE),
        (200, None, True, False, Chunked()),  # rule 4
        (200, 5, False, False, Length(5)),  # rule 6
        (200, 0, False, False, COMPLETE),
        (200, None, False, False, UntilClose()),  # rule 8
    ],
)
def test_response_framing_follows_rfc_9112_section_6_3(
    status: int, length: int | None, chunked: bool, to_head: bool, expected: Framing
) -> None:
    assert response_framing(status, length, chunked, to_head=to_head) == expected
