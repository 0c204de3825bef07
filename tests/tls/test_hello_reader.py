"""One whole hello out of any segmentation: records, segments, limits, what may come before it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tls import HelloReader, PeerAborted, TlsError, WholeHello, read_hello
from proxy.tls.defaults import CCS_LIMIT, HELLO_LIMIT
from proxy.wire import AlertDescription, ContentType, NamedGroup, plaintext_records
from tests.tls.hello import hello
from tests.tls.material import pseudo_random
from tests.tls.states import record

HELLO = hello(NamedGroup.X25519MLKEM768).encode()
RECORD = plaintext_records(ContentType.HANDSHAKE, HELLO)
CCS = record(20, b"\1")

pytestmark = pytest.mark.requirement("A3")


def fed(reader: HelloReader, *pieces: bytes) -> WholeHello:
    """The hello, which the last piece completes and no earlier one."""
    for piece in pieces[:-1]:
        assert reader.receive(piece) is None
    whole = reader.receive(pieces[-1])
    assert whole is not None
    return whole


def padded(size: int) -> bytes:
    """A hello whose message has ``size`` bytes."""
    made = hello(NamedGroup.X25519)
    made.extra = [(21, b"")]
    rest = size - len(made.encode())
    made.extra = [(21, bytes(rest))]
    message = made.encode()
    assert len(message) == size
    return message


def test_whole_record_makes_no_reader() -> None:
    assert read_hello(RECORD) == WholeHello(HELLO, b"")


def test_byte_by_byte() -> None:
    pieces = [RECORD[index : index + 1] for index in range(len(RECORD))]
    assert fed(HelloReader(), *pieces) == WholeHello(HELLO, b"")


def test_every_split_of_segments() -> None:
    for split in range(1, len(RECORD)):
        reader = read_hello(RECORD[:split])
        assert isinstance(reader, HelloReader)
        assert reader.buffered <= split
        assert reader.receive(RECORD[split:]) == WholeHello(HELLO, b"")


def test_every_split_of_records() -> None:
    for split in range(1, len(HELLO)):
        data = record(22, HELLO[:split]) + record(22, HELLO[split:])
        assert read_hello(data) == WholeHello(HELLO, b"")


def test_one_byte_a_record() -> None:
    data = b"".join(record(22, HELLO[index : index + 1]) for index in range(len(HELLO)))
    assert read_hello(data) == WholeHello(HELLO, b"")


@pytest.mark.parametrize("behind", [CCS, record(23, bytes(20)), b"\x17", b"junk"])
def test_what_comes_behind_is_unread(behind: bytes) -> None:
    assert read_hello(RECORD + behind) == WholeHello(HELLO, behind)


def test_nothing_yet() -> None:
    reader = read_hello(b"")
    assert isinstance(reader, HelloReader)
    assert reader.receive(b"") is None
    assert reader.buffered == 0


@pytest.mark.parametrize("first", [0x00, 0x14, 0x17, 0x18, 0x47, 0x80, 0xFF])
def test_what_can_never_be_a_hello_is_refused_at_its_first_byte(first: int) -> None:
    with pytest.raises(TlsError) as caught:
        read_hello(bytes((first,)))
    assert caught.value.reason == "unexpected_record"


@pytest.mark.parametrize("size", [1 << 14, (1 << 14) + 1, 1 << 16])
def test_long_hellos(size: int) -> None:
    message = padded(size)
    assert read_hello(plaintext_records(ContentType.HANDSHAKE, message)).message == message  # type: ignore[union-attr]  # whole


def test_the_longest_legal_hello_is_whole() -> None:
    suites = (b"\xff\xfe" + bytes((1 << 16) - 2), b"\xff" + bytes(255), b"\xff\xff" + bytes(65_535))
    body = b"\3\3" + bytes(32) + b"\x20" + bytes(32) + b"".join(suites)
    message = b"\1" + len(body).to_bytes(3) + body
    assert len(message) == HELLO_LIMIT
    assert read_hello(plaintext_records(ContentType.HANDSHAKE, message)).message == message  # type: ignore[union-attr]  # whole


@pytest.mark.requirement("A4", "A5", "A6")
def test_hello_beyond_the_limit_is_refused_at_its_header() -> None:
    start = b"\1" + (HELLO_LIMIT - 3).to_bytes(3)
    with pytest.raises(TlsError) as caught:
        read_hello(record(22, start))
    assert caught.value.reason == "message_too_long"
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER
    accepted = read_hello(record(22, b"\1" + (HELLO_LIMIT - 4).to_bytes(3)))
    assert isinstance(accepted, HelloReader)


def test_own_limit() -> None:
    assert isinstance(read_hello(RECORD, len(HELLO)), WholeHello)
    for data in (RECORD, RECORD[:200]):
        with pytest.raises(TlsError, match="message_too_long"):
            read_hello(data, len(HELLO) - 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (record(22, b""), "empty_record"),
        (record(21, b""), "empty_record"),
        (record(22, b"\2"), "unexpected_message"),
        (b"\x16\3\3\x40\1", "record_overflow"),
        (b"\x15\3\3\x40\1", "record_overflow"),
        (record(22, HELLO[:50]) + CCS, "unexpected_record"),
        (record(22, HELLO[:50]) + b"\x14", "unexpected_record"),
        (record(22, HELLO[:50]) + record(23, b"\0"), "unexpected_record"),
        (record(22, HELLO + b"\1"), "not_aligned"),
        (record(21, b"\2"), "bad_alert"),
    ],
)
def test_refused(data: bytes, reason: str) -> None:
    with pytest.raises(TlsError) as caught:
        read_hello(data)
    assert caught.value.reason == reason


def test_alert_instead_of_a_hello() -> None:
    with pytest.raises(PeerAborted) as caught:
        read_hello(record(22, HELLO[:50]) + record(21, b"\1\x5a"))
    assert caught.value.alert is None
    assert caught.value.description == AlertDescription.USER_CANCELED


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0303, 0x0304, 0xFFFF])
def test_record_version_is_ignored(version: int) -> None:
    data = RECORD[:1] + version.to_bytes(2) + RECORD[3:]
    assert read_hello(data) == WholeHello(HELLO, b"")


# --- the second hello -------------------------------------------------------------------------


def second(skip: int = 0) -> HelloReader:
    return HelloReader(second=True, skip=skip)


def test_change_cipher_specs_may_come_first() -> None:
    assert fed(second(), CCS, RECORD) == WholeHello(HELLO, b"")
    assert fed(second(), CCS * CCS_LIMIT, RECORD) == WholeHello(HELLO, b"")
    assert fed(second(), RECORD) == WholeHello(HELLO, b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (CCS * (CCS_LIMIT + 1), "unexpected_record"),
        (record(20, b"\2"), "unexpected_ccs"),
        (record(20, b"\1\1"), "unexpected_ccs"),
        (record(22, HELLO[:9]) + CCS, "unexpected_record"),
    ],
)
def test_bad_change_cipher_spec(data: bytes, reason: str) -> None:
    with pytest.raises(TlsError) as caught:
        second().receive(data)
    assert caught.value.reason == reason


def test_early_data_is_skipped_up_to_the_limit() -> None:
    early = record(23, bytes(60)) + record(23, bytes(40))
    assert fed(second(skip=100), early + CCS + RECORD) == WholeHello(HELLO, b"")
    with pytest.raises(TlsError) as caught:
        second(skip=99).receive(early)
    assert caught.value.reason == "unexpected_early_data"
    assert caught.value.alert == AlertDescription.UNEXPECTED_MESSAGE


def test_no_early_data_where_none_may_come() -> None:
    with pytest.raises(TlsError) as caught:
        second().receive(record(23, bytes(60)))
    assert caught.value.reason == "unexpected_record"


@pytest.mark.parametrize(("size", "refused"), [((1 << 14) + 256, False), ((1 << 14) + 257, True)])
def test_early_data_record_overflow(size: int, refused: bool) -> None:
    reader = second(skip=1 << 20)
    if not refused:
        assert reader.receive(record(23, bytes(size))) is None
        return
    with pytest.raises(TlsError, match="record_overflow"):
        reader.receive(record(23, bytes(size))[:5])


@given(st.lists(st.binary(max_size=80), max_size=8), st.booleans())
def test_any_bytes_are_bounded(pieces: list[bytes], is_second: bool) -> None:
    reader = HelloReader(1000, second=is_second, skip=200)
    try:
        for piece in pieces:
            if reader.receive(piece) is not None:
                return
            assert reader.buffered <= 1000 + (1 << 14) + 5
    except TlsError as error:
        assert error.reason


@given(st.data())
def test_any_segmentation_gives_the_same(data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(1, len(HELLO) - 1), max_size=5)))
    edges = [0, *cuts, len(HELLO)]
    fragments = [HELLO[a:b] for a, b in pairwise(edges) if a != b]
    stream = b"".join(record(22, fragment) for fragment in fragments)
    pauses = sorted(data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=8)))
    pieces = [stream[start:end] for start, end in pairwise([0, *pauses, len(stream)])]
    assert fed(HelloReader(), *pieces) == WholeHello(HELLO, b"")


def test_session_ids_do_not_confuse_the_short_way() -> None:
    made = hello(NamedGroup.X25519, session_id=pseudo_random("id", 32)).encode()
    assert read_hello(record(22, made)) == WholeHello(made, b"")
