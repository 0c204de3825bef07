"""An established connection: records, KeyUpdate both ways, closing, moving, limits."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tls import (
    ApplicationData,
    CloseNotify,
    Connection,
    Event,
    Misuse,
    PeerAborted,
    PeerMisbehaved,
    Reason,
    TlsError,
    sent_size,
)
from proxy.tls.defaults import (
    DATA_PER_KEY_UPDATE,
    EMPTY_RECORDS_IN_A_ROW,
    KEY_UPDATES_WITHOUT_DATA,
)
from proxy.tls.suites import PARAMETERS
from proxy.wire import (
    HEADER_SIZE,
    MAX_CIPHERTEXT,
    MAX_PLAINTEXT,
    AlertDescription,
    CipherSuite,
    ContentType,
)
from tests.tls.client import Client, key_update, seal_inner
from tests.tls.states import connected, record

HANDSHAKE, DATA = ContentType.HANDSHAKE, ContentType.APPLICATION_DATA
UPDATE = (ContentType.HANDSHAKE, key_update(0))


def text(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, ApplicationData))


def refused(connection: Connection, data: bytes, reason: str) -> TlsError:
    with pytest.raises(TlsError) as caught:
        connection.receive(data)
    assert caught.value.reason == reason
    return caught.value


# --- application data -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, 1, MAX_PLAINTEXT - 1, MAX_PLAINTEXT, MAX_PLAINTEXT + 1, 99_999]
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_sizes_both_ways(size: int, kind: type) -> None:
    client, connection = connected()
    data = bytes(index % 251 for index in range(size))
    assert client.text(connection.send(kind(data))) == data
    assert text(connection.receive(kind(client.send(data)))) == data


@pytest.mark.parametrize("size", [0, 1, MAX_PLAINTEXT, MAX_PLAINTEXT + 1, 99_999])
def test_bulk_path_sends_into_a_buffer(size: int) -> None:
    client, connection = connected()
    data = bytes(index % 251 for index in range(size))
    out = bytearray(sent_size(size) + 1)
    connection.receive(client.key_update(1))
    used = connection.send_into(memoryview(data), memoryview(out))
    assert used <= sent_size(size)
    assert out[used:] == bytes(len(out) - used)
    assert client.text(out[:used]) == data, "behind the KeyUpdate that was owed"
    used = connection.send_into(memoryview(data), memoryview(out))
    assert client.text(out[:used]) == data


_RECORDS = st.one_of(
    st.sampled_from([0, 1, 2, 100, MAX_PLAINTEXT]),
    st.sampled_from(["update", "padded", "padding", "close", "wrong", "long"]),
)


@given(st.lists(_RECORDS, max_size=8), st.lists(st.integers(0, 40_000), max_size=6))
def test_bulk_path_receives_what_the_small_path_receives(
    kinds: list[int | str], cuts: list[int]
) -> None:
    """Whatever the records are and wherever they are cut."""
    client, connection = connected()
    context = connection.export()
    small, bulk = Connection(context), Connection(context)
    sent = b"".join(made(client, kind) for kind in kinds)
    places = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    pieces = [sent[start:end] for start, end in pairwise(places)]
    assert received_into(bulk, pieces) == received(small, pieces)
    assert bulk.data_to_send() == small.data_to_send()


def made(client: Client, kind: int | str) -> bytes:
    match kind:
        case "update":
            return client.key_update(1)
        case "padded":
            return seal_inner(client.sealer, b"padded\x17" + bytes(300))
        case "padding":
            return seal_inner(client.sealer, bytes(300))
        case "close":
            return client.close()
        case "wrong":
            return client.send(b"wrong")[:-1] + b"?"
        case "long":
            return seal_inner(client.sealer, bytes(MAX_PLAINTEXT + 1) + b"\x17")
        case _:
            return client.send(bytes(index % 249 for index in range(int(kind))))


def received(connection: Connection, pieces: list[bytes]) -> tuple[bytes, bool, str]:
    found: list[Event] = []
    for piece in pieces:
        try:
            found += connection.receive(piece)
        except TlsError as error:
            return text(found), connection.closed_by_peer, error.reason
    assert found.count(CloseNotify()) == connection.closed_by_peer
    return text(found), connection.closed_by_peer, ""


def received_into(connection: Connection, pieces: list[bytes]) -> tuple[bytes, bool, str]:
    found = b""
    for piece in pieces:
        target = bytearray(len(piece) + MAX_CIPHERTEXT + HEADER_SIZE)
        try:
            size = connection.receive_into(memoryview(piece), memoryview(target))
        except TlsError as error:
            return found, connection.closed_by_peer, error.reason
        found += target[:size]
    return found, connection.closed_by_peer, ""


def test_byte_by_byte() -> None:
    client, connection = connected()
    events: list[Event] = []
    for one in client.send(b"first") + client.send(b"second") + client.close():
        events += connection.receive(bytes((one,)))
    assert events == [ApplicationData(b"first"), ApplicationData(b"second"), CloseNotify()]


def test_two_records_at_any_split() -> None:
    for split in range(1, 2 * 22 + 9):
        client, connection = connected()
        data = client.send(b"one") + client.send(b"three")
        events = connection.receive(data[:split]) + connection.receive(data[split:])
        assert events == [ApplicationData(b"one"), ApplicationData(b"three")]


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=6), st.data())
def test_any_segmentation_gives_the_same(texts: list[bytes], data: st.DataObject) -> None:
    client, connection = connected()
    stream = b"".join(client.send(one) for one in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    events: list[Event] = []
    for start, end in pairwise([0, *cuts, len(stream)]):
        events += connection.receive(stream[start:end])
    assert events == [ApplicationData(one) for one in texts]


@pytest.mark.parametrize("padding", [0, 1, 255, MAX_PLAINTEXT - 4])
def test_padding_is_accepted(padding: int) -> None:
    client, connection = connected()
    data = seal_inner(client.sealer, b"data\x17" + bytes(padding))
    assert connection.receive(data) == [ApplicationData(b"data")]


def test_plaintext_that_ends_in_zeros_is_kept() -> None:
    client, connection = connected()
    assert text(connection.receive(client.send(b"data\0\0\0"))) == b"data\0\0\0"


def test_longest_inner_plaintext() -> None:
    client, connection = connected()
    longest = seal_inner(client.sealer, bytes(MAX_PLAINTEXT) + b"\x17")
    assert text(connection.receive(longest)) == bytes(MAX_PLAINTEXT)
    refused(
        connection, seal_inner(client.sealer, bytes(MAX_PLAINTEXT + 1) + b"\x17"), "record_overflow"
    )


def test_padding_counts_into_the_limit() -> None:
    client, connection = connected()
    data = seal_inner(client.sealer, b"data\x17" + bytes(MAX_PLAINTEXT - 3))
    refused(connection, data, "record_overflow")


@pytest.mark.parametrize(("size", "reason"), [(16640, None), (16641, "record_overflow")])
def test_record_overflow_by_its_header(size: int, reason: str | None) -> None:
    _, connection = connected()
    header = b"\x17\3\3" + size.to_bytes(2)
    if reason is None:
        assert connection.receive(header) == []
    else:
        error = refused(connection, header, reason)
        assert error.alert == AlertDescription.RECORD_OVERFLOW


def test_empty_records_are_counted_in_a_row() -> None:
    client, connection = connected()
    for _ in range(3):
        for _ in range(EMPTY_RECORDS_IN_A_ROW):
            assert connection.receive(client.send(b"")) == []
        assert text(connection.receive(client.send(b"x"))) == b"x"
    for _ in range(EMPTY_RECORDS_IN_A_ROW):
        connection.receive(client.send(b""))
    error = refused(connection, client.send(b""), "too_many_empty_records")
    assert error.alert == AlertDescription.UNEXPECTED_MESSAGE


def test_nothing_is_read_after_an_error() -> None:
    client, connection = connected()
    refused(connection, record(23, bytes(40)), "bad_record_mac")
    assert connection.receive(client.send(b"data")) == []


def test_replayed_and_reordered_records() -> None:
    client, connection = connected()
    first, second = client.send(b"first"), client.send(b"second")
    refused(connected()[1], first, "bad_record_mac")
    connection.receive(first)
    refused(connection, first, "bad_record_mac")
    client, connection = connected()
    first, second = client.send(b"first"), client.send(b"second")
    refused(connection, second + first, "bad_record_mac")


# --- KeyUpdate from the client ----------------------------------------------------------------


def test_key_updates_follow() -> None:
    client, connection = connected()
    for turn in range(5):
        data = client.send(b"before") + client.key_update() + client.send(b"after")
        assert text(connection.receive(data)) == b"beforeafter"
        assert connection.data_to_send() == b"", turn


def test_old_key_after_an_update() -> None:
    client, connection = connected()
    connection.receive(client.sealer.seal(HANDSHAKE, key_update(0)))
    refused(connection, client.send(b"data"), "bad_record_mac")


def test_requests_are_answered_once() -> None:
    client, connection = connected()
    connection.receive(client.key_update(1) + client.key_update(1) + client.key_update(1))
    assert client.open(connection.data_to_send()) == [UPDATE]
    assert connection.data_to_send() == b""
    assert client.text(connection.send(b"data")) == b"data"


def test_answer_goes_in_front_of_data() -> None:
    client, connection = connected()
    connection.receive(client.key_update(1))
    assert client.open(connection.send(b"data")) == [UPDATE, (DATA, b"data")]
    connection.receive(client.key_update(1))
    assert client.open(connection.close())[0] == UPDATE


def test_answer_goes_in_front_of_bulk() -> None:
    client, connection = connected()
    connection.receive(client.key_update(1))
    assert client.text(connection.send(bytes(50_000))) == bytes(50_000)


def test_key_updates_without_data_are_limited() -> None:
    client, connection = connected()
    for _ in range(2):
        for _ in range(KEY_UPDATES_WITHOUT_DATA):
            connection.receive(client.key_update())
        connection.receive(client.send(bytes(KEY_UPDATES_WITHOUT_DATA * DATA_PER_KEY_UPDATE)))
    for _ in range(KEY_UPDATES_WITHOUT_DATA):
        connection.receive(client.key_update())
    # A little data pays for none, and much for one each.
    connection.receive(client.send(bytes(DATA_PER_KEY_UPDATE - 1)))
    connection.receive(client.send(b"x"))
    connection.receive(client.key_update())
    connection.receive(client.send(b"x"))
    error = refused(connection, client.key_update(), "too_many_key_updates")
    assert error.alert == AlertDescription.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("cuts", [(1,), (2,), (3,), (4,), (1, 2, 3, 4)])
def test_key_update_in_pieces(cuts: tuple[int, ...]) -> None:
    client, connection = connected()
    message = key_update(1)
    for start, end in pairwise((0, *cuts, 5)):
        assert connection.receive(client.sealer.seal(HANDSHAKE, message[start:end])) == []
    client.sealer.update()
    assert text(connection.receive(client.send(b"data"))) == b"data"
    assert client.open(connection.data_to_send()) == [UPDATE]


# --- KeyUpdate from us ------------------------------------------------------------------------


@pytest.mark.parametrize("suite", CipherSuite)
def test_our_key_update_comes_before_the_limit(
    suite: CipherSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PARAMETERS, suite, replace(PARAMETERS[suite], records_per_key=3))
    client, connection = connected(suite)
    kinds = [
        [kind for kind, _ in client.open(connection.send(bytes((turn,))))] for turn in range(10)
    ]
    update = [HANDSHAKE, DATA]
    assert kinds == 3 * [[DATA]] + 2 * [update, [DATA], [DATA]] + [update]
    assert connection.export().write_sequence == 1


def test_our_key_update_without_data_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = CipherSuite.TLS_AES_128_GCM_SHA256
    monkeypatch.setitem(PARAMETERS, suite, replace(PARAMETERS[suite], records_per_key=2))
    client, connection = connected()
    client.open(connection.send(b"1") + connection.send(b"2"))
    assert client.open(connection.data_to_send()) == [UPDATE]
    assert connection.data_to_send() == b""


def test_sequence_numbers_do_not_wrap() -> None:
    _, connection = connected()
    last = (1 << 64) - 1
    spent = Connection(replace(connection.export(), write_sequence=last, read_sequence=last))
    with pytest.raises(Misuse, match="wrap"):
        spent._sealer.seal(DATA, b"")
    with pytest.raises(Misuse, match="wrap"):
        spent._opener.open(b"\x17\3\3\0\x20", bytes(32))


# --- closing ----------------------------------------------------------------------------------


@pytest.mark.requirement("A43")
def test_client_closes_first_and_still_reads() -> None:
    client, connection = connected()
    assert connection.receive(client.send(b"last") + client.close() + b"junk") == [
        ApplicationData(b"last"),
        CloseNotify(),
    ]
    assert connection.receive(b"anything") == []
    connection.receive_eof()
    assert client.text(connection.send(b"response")) == b"response"
    assert client.open(connection.close()) == [(ContentType.ALERT, b"\1\0")]


def test_we_close_first_and_still_read() -> None:
    client, connection = connected()
    assert client.open(connection.close()) == [(ContentType.ALERT, b"\1\0")]
    assert connection.close() == b""
    assert text(connection.receive(client.send(b"data"))) == b"data"
    connection.receive(client.key_update(1))
    assert connection.data_to_send() == b"", "nothing may follow close_notify"
    for write in (
        lambda: connection.send(b""),
        lambda: connection.send_into(memoryview(b""), memoryview(bytearray())),
    ):
        with pytest.raises(Misuse, match="closed"):
            write()


def test_end_without_close_notify_is_a_truncation() -> None:
    client, connection = connected()
    connection.receive(client.send(b"data"))
    with pytest.raises(PeerAborted):
        connection.receive_eof()


def test_user_canceled_is_a_notice() -> None:
    client, connection = connected()
    data = client.alert(AlertDescription.USER_CANCELED) + client.close()
    assert connection.receive(data) == [CloseNotify()]


def test_user_canceled_is_limited() -> None:
    client, connection = connected()
    for _ in range(EMPTY_RECORDS_IN_A_ROW):
        assert connection.receive(client.alert(AlertDescription.USER_CANCELED)) == []
    refused(connection, client.alert(AlertDescription.USER_CANCELED), "too_many_empty_records")


def test_fatal_alert() -> None:
    client, connection = connected()
    with pytest.raises(PeerAborted) as caught:
        connection.receive(client.alert(AlertDescription.INTERNAL_ERROR))
    assert caught.value.description == AlertDescription.INTERNAL_ERROR
    assert connection.alert(caught.value) == b"", "nothing is owed to who ended it"


def test_alert_is_sent_once_and_last() -> None:
    client, connection = connected()
    error = PeerMisbehaved(Reason.BAD_KEY_UPDATE)
    sent = client.open(connection.alert(error))
    assert sent == [(ContentType.ALERT, bytes((2, AlertDescription.ILLEGAL_PARAMETER)))]
    assert connection.alert(error) == b""
    assert connection.close() == b""


@given(st.binary(max_size=400))
def test_any_bytes_give_events_or_our_error(data: bytes) -> None:
    _, connection = connected()
    try:
        assert connection.receive(data) == []
    except TlsError as error:
        assert error.reason
    assert len(connection.export().unread) <= 5 + 16640


@given(st.lists(st.tuples(st.sampled_from([20, 21, 22, 23]), st.binary(max_size=12)), max_size=6))
def test_any_sealed_content_gives_events_or_our_error(contents: list[tuple[int, bytes]]) -> None:
    client, connection = connected()
    try:
        for kind, fragment in contents:
            connection.receive(client.sealer.seal(ContentType(kind), fragment))
            assert isinstance(connection.data_to_send(), bytes)
    except TlsError as error:
        assert error.reason
