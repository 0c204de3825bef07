"""The client's reply: every split, early data, and that nothing but Finished promotes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tls import (
    ApplicationData,
    Connection,
    Established,
    Flight,
    NeedMore,
    PeerAborted,
    TlsError,
    answer,
    finish,
    half_open_alert,
)
from proxy.tls.defaults import CCS_LIMIT, EARLY_DATA_LIMIT
from proxy.tls.half_open import HalfOpen
from proxy.wire import AlertDescription, CipherSuite, ClientHello, ContentType
from tests.tls.client import Client, seal_inner
from tests.tls.hello import hello
from tests.tls.material import ENTROPY, NAME, policy
from tests.tls.states import record

CCS = record(20, b"\1")

pytestmark = pytest.mark.requirement("A33", "A34")


def half_way(
    *, early_data: bool = False, suite: CipherSuite = CipherSuite.TLS_AES_128_GCM_SHA256
) -> tuple[Client, bytes]:
    """A client that has the flight, and what the server keeps."""
    client = Client(hello(suites=[suite], alpn=[b"http/1.1"], early_data=early_data))
    client.start()
    decoded = ClientHello.decode(client.hello.encode())
    flight = answer(decoded, policy(alpn=(b"http/1.1",)), ENTROPY)
    assert isinstance(flight, Flight)
    client.receive(flight.data)
    return client, flight.half_open


def feed(half_open: bytes, *pieces: bytes) -> Established | None:
    """Feed as the front does: bytes behind ``consumed`` come again with the next piece."""
    kept = b""
    for piece in pieces:
        kept += piece
        result = finish(half_open, kept)
        if isinstance(result, Established):
            assert piece is pieces[-1]
            return result
        half_open, kept = result.half_open, kept[result.consumed :]
    return None


@pytest.mark.requirement("A35", "A41")
@pytest.mark.parametrize("suite", CipherSuite)
def test_established(suite: CipherSuite) -> None:
    client, half_open = half_way(suite=suite)
    context = feed(half_open, client.finish())
    assert context is not None
    assert context.suite == suite
    assert (context.server_name, context.alpn, context.name_index) == (NAME, "http/1.1", 0)
    assert (context.read_sequence, context.write_sequence) == (0, 0)
    assert context.read_secret.reveal() == client.sealer.secret
    assert context.write_secret.reveal() == client.opener.secret


def test_first_request_in_the_same_segment_is_unread() -> None:
    client, half_open = half_way()
    data = client.send(b"GET / HTTP/1.1\r\n\r\n")
    context = feed(half_open, client.finish() + data[:-1])
    assert context is not None
    assert context.unread == data[:-1]
    events = Connection(context).receive(data[-1:])
    assert events == [ApplicationData(b"GET / HTTP/1.1\r\n\r\n")]


@pytest.mark.parametrize("ccs", range(CCS_LIMIT + 1))
def test_every_split_and_byte_by_byte(ccs: int) -> None:
    client, half_open = half_way()
    reply = ccs * CCS + client.finish()
    for split in range(1, len(reply)):
        assert feed(half_open, reply[:split], reply[split:]) is not None
    assert feed(half_open, *(reply[index : index + 1] for index in range(len(reply)))) is not None


def test_every_truncation_waits_and_changes_nothing() -> None:
    client, half_open = half_way()
    reply = client.finish()
    for size in range(len(reply)):
        assert finish(half_open, reply[:size]) == NeedMore(half_open, 0)


def test_finished_in_pieces_across_calls() -> None:
    client, half_open = half_way()
    message = client.finished()
    pieces = [client.handshake.seal(ContentType.HANDSHAKE, bytes((one,))) for one in message]
    context = feed(half_open, *pieces)
    assert context is not None
    assert context.read_secret.reveal() == client.sealer.secret


@pytest.mark.parametrize("padding", [0, 1, 100, (1 << 14) - 36])
def test_padding(padding: int) -> None:
    client, half_open = half_way()
    reply = seal_inner(client.handshake, client.finished() + b"\x16" + bytes(padding))
    assert feed(half_open, reply) is not None


def test_every_wrong_bit_of_finished() -> None:
    client, half_open = half_way()
    reply = client.finish()
    for index in range(5, len(reply)):
        wrong = reply[:index] + bytes((reply[index] ^ 0x10,)) + reply[index + 1 :]
        with pytest.raises(TlsError, match="bad_record_mac"):
            finish(half_open, wrong)


def test_finished_of_another_handshake() -> None:
    _, half_open = half_way()
    other, _ = half_way()
    with pytest.raises(TlsError, match="bad_record_mac"):
        finish(half_open, other.finish())


def test_application_data_before_finished_never_promotes() -> None:
    client, half_open = half_way()
    with pytest.raises(TlsError, match="bad_record_mac"):
        finish(half_open, client.send(b"data"))


@pytest.mark.parametrize("description", [0, 40, 90, 255])
def test_alert_ends_the_attempt(description: int) -> None:
    client, half_open = half_way()
    sealed = client.handshake.seal(ContentType.ALERT, bytes((2, description)))
    for data in (sealed, record(21, bytes((1, description)))):
        with pytest.raises(PeerAborted) as caught:
            finish(half_open, data)
        assert caught.value.description == description
        assert caught.value.alert is None


# --- early data -------------------------------------------------------------------------------


def early_records(total: int, size: int = 1000) -> bytes:
    full, rest = divmod(total, size)
    data = full * record(23, size * b"e")
    return data + (record(23, rest * b"e") if rest else b"")


@pytest.mark.parametrize("total", [20, 1000, EARLY_DATA_LIMIT])
def test_early_data_is_skipped_up_to_the_limit(total: int) -> None:
    client, half_open = half_way(early_data=True)
    early = early_records(total)
    assert feed(half_open, early + CCS, client.finish()) is not None
    assert feed(half_open, *(early[i : i + 997] for i in range(0, len(early), 997))) is None


def test_more_early_data_is_refused() -> None:
    _, half_open = half_way(early_data=True)
    with pytest.raises(TlsError) as caught:
        feed(half_open, early_records(EARLY_DATA_LIMIT - 1), record(23, 20 * b"e"))
    assert caught.value.reason == "unexpected_early_data"
    assert caught.value.alert == AlertDescription.UNEXPECTED_MESSAGE
    with pytest.raises(TlsError, match="bad_record_mac"):
        feed(half_open, early_records(EARLY_DATA_LIMIT), record(23, 20 * b"e"))


def test_nothing_is_skipped_once_a_record_has_opened() -> None:
    client, half_open = half_way(early_data=True)
    start = client.handshake.seal(ContentType.HANDSHAKE, client.finished()[:5])
    with pytest.raises(TlsError, match="bad_record_mac"):
        feed(half_open, start, early_records(20))


def test_no_early_data_where_none_was_announced() -> None:
    _, half_open = half_way()
    with pytest.raises(TlsError, match="bad_record_mac"):
        finish(half_open, early_records(20))


def test_opened_record_is_not_mistaken_for_early_data() -> None:
    client, half_open = half_way(early_data=True)
    with pytest.raises(TlsError, match="no_content_type"):
        finish(half_open, seal_inner(client.handshake, bytes(30)))


# --- what the client is told ------------------------------------------------------------------


@pytest.mark.parametrize("description", AlertDescription)
def test_alert_is_under_the_application_keys(description: AlertDescription) -> None:
    client, half_open = half_way()
    content_type, plaintext = client.open(half_open_alert(half_open, description))[0]
    assert content_type == ContentType.ALERT
    assert plaintext[1] == description


@pytest.mark.parametrize("content_type", [0, 22, 24, 0x47, 0xFF])
def test_illegal_record_is_refused_by_its_header(content_type: int) -> None:
    _, half_open = half_way()
    with pytest.raises(TlsError, match="unexpected_record"):
        finish(half_open, bytes((content_type, 3, 3, 1, 0)))


@pytest.mark.parametrize(("size", "refused"), [((1 << 14) + 256, False), ((1 << 14) + 257, True)])
def test_record_overflow(size: int, refused: bool) -> None:
    _, half_open = half_way()
    header = b"\x17\3\3" + size.to_bytes(2)
    if not refused:
        assert finish(half_open, header) == NeedMore(half_open, 0)
        return
    with pytest.raises(TlsError, match="record_overflow"):
        finish(half_open, header)


_, HALF_OPEN = half_way()


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_wait_or_are_refused(data: bytes, skipping: bool) -> None:
    half_open = HALF_OPEN
    if skipping:
        half_open = HalfOpen.unpack(half_open)._replace(skip=100).pack()
    try:
        result = finish(half_open, data)
    except TlsError as error:
        assert error.reason
    else:
        assert isinstance(result, NeedMore)
        assert result.consumed <= len(data)


def test_half_open_round_trip() -> None:
    kept = HalfOpen.unpack(HALF_OPEN)
    for changed in (
        kept,
        kept._replace(records=3, ccs=2, skip=16896, partial=b"\x14\0"),
        kept._replace(server_name=b"", alpn=255 * b"a", name_index=65535),
    ):
        assert HalfOpen.unpack(changed.pack()) == changed


def test_replaced_hello_is_another_handshake() -> None:
    client, _ = half_way()
    changed = replace(client.hello, random=bytes(32))
    flight = answer(ClientHello.decode(changed.encode()), policy(), ENTROPY)
    assert isinstance(flight, Flight)
    with pytest.raises(TlsError, match="bad_record_mac"):
        finish(flight.half_open, client.finish())


def test_empty_records_are_no_early_data() -> None:
    """They would cost nothing of what may be skipped, and so never end."""
    _, half_open = half_way(early_data=True)
    with pytest.raises(TlsError, match="bad_record_mac"):
        finish(half_open, record(23, b""))
