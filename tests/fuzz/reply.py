"""Target: what follows our flight.

The input is a byte that chooses suite and early data, and a script of `Step`. Asserted:
segmentation changes nothing; nothing establishes but the client's whole Finished, and then both
sides have the same keys; what is held stays small, and an error is told in a record that the
client can open.
"""

from enum import IntEnum
from functools import cache
from typing import Final

from proxy.tls import Established, Flight, NeedMore, TlsError, answer, finish, half_open_alert
from proxy.tls.protection import Opener, Sealer
from proxy.wire import CipherSuite, ClientHello, ContentType
from tests.fuzz.hello import ENTROPY
from tests.fuzz.rules import LONGEST_RECORD, Refusal, check, policy
from tests.fuzz.scripts import steps
from tests.tls.client import Client, Unverified, seal_inner
from tests.tls.hello import hello

__all__ = ["SCENARIOS", "Step", "half_way", "reply", "sealed_by"]

_SUITES: Final = tuple(CipherSuite)
SCENARIOS: Final = len(_SUITES) * 2
"""Each suite, without and with early data."""
_HALF_OPEN_LIMIT: Final = 400


class Step(IntEnum):
    """What the client sends; the content says with what."""

    RAW = 0
    """The content, as it is."""
    SEALED = 1
    """The content as a TLSInnerPlaintext."""
    UPDATED = 2
    """The same under the keys behind the present ones."""
    FINISHED = 3
    """So many bytes of Finished in a record, all the rest where the content is empty."""
    APPLICATION = 4
    """The content as application data under the application keys."""
    JUNK = 5
    """The content many times over as one record of application data that opens by no key."""


_TIMES: Final = 512
"""What makes of 33 bytes more than a record may carry."""


class _Client:
    """The peer: what it sends for a step, and whether its Finished is out."""

    def __init__(self, client: Client) -> None:
        self.parameters = client.parameters
        self.application = Sealer(client.parameters, client.sealer.secret)
        self._keys = Sealer(client.parameters, client.handshake.secret)
        self._finished = client.finished()
        self.finished = False

    def send(self, step: Step, content: bytes) -> bytes:
        match step:
            case Step.RAW:
                return content
            case Step.FINISHED:
                size = content[0] if content else len(self._finished)
                piece, self._finished = self._finished[:size], self._finished[size:]
                self.finished = not self._finished
                return self._keys.seal(ContentType.HANDSHAKE, piece)
            case Step.JUNK:
                junk = content * _TIMES
                return b"\x17\3\3" + len(junk[:0xFFFF]).to_bytes(2) + junk[:0xFFFF]
            case Step.APPLICATION:
                return self.application.seal_all(ContentType.APPLICATION_DATA, content)
            case _:
                return sealed_by(self._keys, content, after_update=step is Step.UPDATED)


def sealed_by(keys: Sealer, inner: bytes, *, after_update: bool) -> bytes:
    """A record around any inner plaintext that still fits one."""
    if after_update:
        keys.update()
    return seal_inner(keys, inner[: 1 << 15])


def reply(data: bytes) -> str:
    """The target; says how far it came."""
    client, half_open = half_way(sum(data[:1]) % SCENARIOS)
    peer = _Client(client)
    pieces: list[bytes] = []
    outcome: Established | Refusal | None = None
    kept, now = b"", half_open
    for step, content in steps(data[1:], len(Step)):
        pieces.append(peer.send(Step(step), content))
        if outcome is not None:
            continue
        kept += pieces[-1]
        outcome, kept, now = _take(now, kept)
        if isinstance(outcome, Established):
            assert peer.finished, "established without Finished"
    _check_whole(half_open, pieces, outcome)
    if isinstance(outcome, Established):
        assert outcome.read_secret.reveal() == client.sealer.secret
        assert outcome.write_secret.reveal() == client.opener.secret
        return "established"
    if outcome is None:
        return "waiting"
    _check_alert(client, now, outcome)
    return outcome[0]


def _take(half_open: bytes, data: bytes) -> tuple[Established | Refusal | None, bytes, bytes]:
    """One call: its outcome, the bytes to come again, the half-open handshake to keep."""
    try:
        result = finish(half_open, data)
    except TlsError as error:
        return check(error), data, half_open
    if isinstance(result, Established):
        assert data.endswith(result.unread)
        return result, data, half_open
    assert isinstance(result, NeedMore)
    rest = data[result.consumed :]
    assert len(rest) < LONGEST_RECORD
    assert len(result.half_open) < _HALF_OPEN_LIMIT
    return None, rest, result.half_open


def _check_whole(
    half_open: bytes, pieces: list[bytes], outcome: Established | Refusal | None
) -> None:
    """The same bytes at once, and in small pieces, come to the same."""
    stream = b"".join(pieces)
    assert _same(_take(half_open, stream)[0], outcome)
    kept, now = b"", half_open
    small: Established | Refusal | None = None
    for piece in [*(stream[at : at + 7] for at in range(0, 511, 7)), stream[511:]]:
        if piece and small is None:
            small, kept, now = _take(now, kept + piece)
    assert _same(small, outcome)


def _same(one: Established | Refusal | None, other: Established | Refusal | None) -> bool:
    if isinstance(one, Established) and isinstance(other, Established):
        return one.read_secret.reveal() == other.read_secret.reveal()
    return one == other


def _check_alert(client: Client, half_open: bytes, outcome: Refusal) -> None:
    alert = outcome[1]
    if alert is None:
        return
    record = half_open_alert(half_open, alert)
    opener = Opener(client.parameters, client.opener.secret)
    assert opener.open(record[:5], record[5:]) == (ContentType.ALERT, bytes((2, alert)))


@cache
def half_way(scenario: int) -> tuple[Client, bytes]:
    """A client that has our flight, and what we keep of it."""
    made = hello(suites=[_SUITES[scenario % len(_SUITES)]], early_data=scenario >= len(_SUITES))
    client = Unverified(made)
    client.start()
    flight = answer(ClientHello.decode(made.encode()), policy(), ENTROPY)
    assert isinstance(flight, Flight)
    client.receive(flight.data)
    return client, flight.half_open
