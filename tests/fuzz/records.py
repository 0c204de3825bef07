"""Target: an established connection, read, written and moved.

The input is a byte that chooses suite and early data, and a script of `Step`. Asserted: what comes
out is what was sealed, in order, and nothing else; segmentation and moving the connection after
every step change nothing; the client can open all that we send.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import Final

from proxy.tls import (
    ApplicationData,
    CloseNotify,
    Connection,
    Established,
    Event,
    Misuse,
    Reason,
    TlsError,
    decode_context,
    encode_context,
    finish,
    sent_size,
)
from proxy.tls.protection import Opener, Sealer
from proxy.wire import MAX_PLAINTEXT, ContentType
from tests.fuzz.reply import SCENARIOS, half_way, sealed_by
from tests.fuzz.rules import LONGEST_RECORD, Refusal, check
from tests.fuzz.scripts import steps
from tests.tls.client import Client, key_update, seal_inner

__all__ = ["Step", "records"]

# A connection that is moved starts to count these anew, so a flood of moves may pass more.
_FLOODS: Final = (Reason.TOO_MANY_KEY_UPDATES, Reason.TOO_MANY_EMPTY_RECORDS)
_APPLICATION_DATA: Final = int(ContentType.APPLICATION_DATA)


class Step(IntEnum):
    """What happens; the content says with what."""

    RAW = 0
    """The client sends the content as it is."""
    SEALED = 1
    """It sends the content as a TLSInnerPlaintext."""
    UPDATED = 2
    """The same under the next keys, which it has not announced."""
    DATA = 3
    """It sends the content as application data."""
    KEY_UPDATE = 4
    """It announces new keys, with the content's first byte as the request, and uses them."""
    ANSWER = 5
    """We send the content."""
    CLOSE = 6
    """We close our direction."""
    BULK = 7
    """We send the content many times over, by the path for bulk."""
    LONG = 8
    """The client sends the content many times over as one TLSInnerPlaintext."""


_TIMES: Final = 512
"""What makes of 33 bytes more than a record may carry."""


class _Client:
    """The peer: what it sends for a step, and the application data in it."""

    def __init__(self, client: Client) -> None:
        self.keys = Sealer(client.parameters, client.sealer.secret)
        self.opener = Opener(client.parameters, client.opener.secret)
        self.data = b""

    def send(self, step: Step, content: bytes) -> bytes:
        match step:
            case Step.RAW:
                return content
            case Step.DATA:
                self.data += content
                return self.keys.seal_all(ContentType.APPLICATION_DATA, content)
            case Step.KEY_UPDATE:
                message = key_update(sum(content[:1]))
                sent = self.keys.seal(ContentType.HANDSHAKE, message)
                self.keys.update()
                return sent
            case _:
                content = content * _TIMES if step is Step.LONG else content
                inner = content.rstrip(b"\0")
                if inner[-1:] == b"\x17" and len(content) <= MAX_PLAINTEXT + 1:
                    self.data += inner[:-1]
                return sealed_by(self.keys, content, after_update=step is Step.UPDATED)

    def open(self, data: bytes | bytearray) -> list[tuple[int, bytes]]:
        """What we sent, less KeyUpdates, which the keys follow."""
        found = []
        while data:
            end = 5 + int.from_bytes(data[3:5])
            found.append(self.opener.open(bytes(data[:5]), bytes(data[5:end])))
            data = data[end:]
            if found[-1] == (ContentType.HANDSHAKE, key_update(0)):
                self.opener.update()
                found.pop()
        return found


class _Reader:
    """A connection, what it gave so far, and how it ended."""

    def __init__(self, established: Established) -> None:
        self.connection = Connection(established)
        self.data = b""
        self.closed = False
        self.refusal: Refusal | None = None

    def receive(self, data: bytes) -> TlsError | None:
        """Take bytes, unless it is over."""
        if self.refusal is not None:
            return None
        try:
            self._take(self.connection.receive(data))
        except TlsError as error:
            self.refusal = check(error)
            return error
        return None

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            assert not self.closed, "an event behind close_notify"
            match event:
                case ApplicationData(content):
                    assert content
                    self.data += content
                case CloseNotify():
                    self.closed = True

    @property
    def outcome(self) -> tuple[bool, Refusal | None]:
        return self.closed, self.refusal

    def move(self) -> None:
        """Export, carry as bytes, and go on with what arrives."""
        left = self.connection
        exported = left.export()
        assert len(exported.unread) < LONGEST_RECORD
        assert len(exported.partial) < 5
        moved = decode_context(encode_context(exported))
        assert isinstance(moved, Established)
        self.connection = Connection(moved)
        for use in (left.export, left.close, left.data_to_send):
            try:
                use()
            except Misuse:
                continue
            raise AssertionError("two owners of one key")

    def end(self) -> bool:
        """The transport ends; whether that is all right."""
        try:
            self.connection.receive_eof()
        except TlsError as error:
            check(error)
            return False
        return True


def records(data: bytes) -> str:
    """The target; says how it ended."""
    client, established = _connected(sum(data[:1]) % SCENARIOS)
    peer = _Client(client)
    stays, moves = _Reader(established), _Reader(established)
    stream = b""
    for number, content in steps(data[1:], len(Step)):
        step = Step(number)
        if step in (Step.ANSWER, Step.CLOSE, Step.BULK):
            _write(moves.connection, peer, step, content)
            _write(stays.connection, None, step, content)
            continue
        sent = peer.send(step, content)
        stream += sent
        stays.receive(sent)
        error = moves.receive(sent)
        if error is not None:
            _check_alert(moves.connection, peer, error)
        elif moves.refusal is None:
            moves.move()
            owed = moves.connection.data_to_send()
            assert stays.refusal or len(owed) == len(stays.connection.data_to_send())
            assert peer.open(owed) == []
    _check_same(established, stream, stays, moves)
    assert peer.data.startswith(stays.data)
    assert stays.end() == (stays.closed or stays.refusal is not None)
    if stays.refusal is not None:
        return stays.refusal[0]
    return "closed" if stays.closed else "open"


def _write(connection: Connection, peer: _Client | None, step: Step, content: bytes) -> None:
    """We send: the client, if it gets that, reads it; once closed, sending is our own mistake."""
    if step is Step.CLOSE:
        sent: bytes | bytearray = connection.close()
        # Nothing where it is closed already.
        assert peer is None or peer.open(sent) in ([], [(ContentType.ALERT, b"\1\0")])
        return
    if step is Step.BULK:
        content *= _TIMES
    sent = bytearray()
    try:
        if step is Step.BULK:
            out = bytearray(sent_size(len(content)))
            sent += out[: connection.send_into(memoryview(content), memoryview(out))]
        else:
            sent += connection.send(content)
    except Misuse:
        assert connection.close() == b"", "refused, and open"
        return
    if peer is None:
        return
    opened = peer.open(sent)
    assert {kind for kind, _ in opened} <= {_APPLICATION_DATA}
    assert b"".join(plaintext for _, plaintext in opened) == content


def _check_alert(connection: Connection, peer: _Client, error: TlsError) -> None:
    """The client is told why, once."""
    sent = peer.open(connection.alert(error))
    if error.alert is None:
        assert sent == []
    elif sent:
        assert sent == [(ContentType.ALERT, bytes((2, error.alert)))]
    assert connection.alert(error) == b""


def _check_same(established: Established, stream: bytes, stays: _Reader, moves: _Reader) -> None:
    whole = _Reader(established)
    whole.receive(stream)
    # An error at once comes instead of the events before it.
    assert whole.outcome == stays.outcome
    assert stays.refusal is not None or whole.data == stays.data
    if stays.refusal is not None and stays.refusal[0] in _FLOODS:
        return
    assert moves.outcome == stays.outcome
    assert moves.data == stays.data


@cache
def _connected(scenario: int) -> tuple[Client, Established]:
    client, half_open = half_way(scenario)
    keys = Sealer(client.parameters, client.handshake.secret)
    established = finish(half_open, seal_inner(keys, client.finished() + b"\x16"))
    assert isinstance(established, Established)
    return client, established
