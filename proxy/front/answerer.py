"""One listener under one configuration generation: hellos and replies in, bytes and contexts out.

Sans-IO between the engine and the table. Rules: the answer policy decides who signs; a table
without room answers by HelloRetryRequest, which stores nothing, and refuses who returns while there
is still none.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from proxy.front.cookie_keys import CookieKeys
from proxy.front.pressure import Pressure
from proxy.front.settings import AnswerPolicy, ListenerSettings
from proxy.front.table import HandshakeTable
from proxy.tls import (
    Entropy,
    Established,
    Flight,
    NeedMore,
    PeerMisbehaved,
    Policy,
    Reason,
    Retried,
    RetryNeeded,
    TlsError,
    WholeHello,
    answer,
    finish,
    half_open_alert,
    plan_retry,
    redeem,
    retry,
)
from proxy.wire import AlertDescription, ClientHello, alert_record

__all__ = ["Answer", "Answerer", "Stage", "TableFull"]


class Stage(IntEnum):
    """What a descriptor waits for."""

    FREE = 0
    HELLO = 1
    SECOND_HELLO = 2
    REPLY = 3
    OFFERED = 4
    LINGER = 5
    SIGNATURE = 6


class TableFull(TlsError):
    """No slot for another half-open handshake, and a retry has been spent."""

    def __init__(self) -> None:
        super().__init__("table_full", AlertDescription.INTERNAL_ERROR)


class Answer(NamedTuple):
    """Bytes for the client and what the connection waits for next."""

    data: bytes
    stage: Stage


_REPLY: Final = Stage.REPLY
_SECOND_HELLO: Final = Stage.SECOND_HELLO


class Answerer:
    """``generation`` is the configuration's, ``number`` the listener's in it; ``table`` outlives
    both."""

    __slots__ = (
        "_adaptive",
        "_cookie_keys",
        "_entropy",
        "_policy",
        "_pressure",
        "_retries",
        "generation",
        "number",
        "settings",
        "table",
    )

    def __init__(
        self,
        settings: ListenerSettings,
        policy: Policy,
        table: HandshakeTable,
        cookie_keys: CookieKeys,
        entropy: Entropy,
        pressure: Pressure,
        *,
        generation: int,
        number: int = 0,
    ) -> None:
        self.settings = settings
        self.table = table
        self.generation = generation
        self.number = number
        self._retries = settings.answer is AnswerPolicy.RETRY
        self._adaptive = settings.answer is AnswerPolicy.ADAPTIVE
        self._policy = policy
        self._cookie_keys = cookie_keys
        self._entropy = entropy
        self._pressure = pressure

    def first_hello(self, five_tuple: bytes, whole: WholeHello, now: float) -> Answer:
        """Answer a whole first hello. Raises ``TlsError``; nothing is stored then."""
        hello = ClientHello.decode(whole.message)
        if self._retries or (self._adaptive and self._pressure.active) or self.table.full:
            # The client itself keeps the state. Where the table is full, it may find a slot when
            # it comes back.
            return self._retry(hello, plan_retry(hello, self._policy), five_tuple, now)
        answered = answer(hello, self._policy, self._entropy)
        if isinstance(answered, RetryNeeded):
            return self._retry(hello, answered, five_tuple, now)
        return self._store(five_tuple, answered)

    def second_hello(self, five_tuple: bytes, whole: WholeHello, now: float) -> Answer | Retried:
        """Answer the hello that echoes our cookie; a ``Retried`` is for a worker to answer.

        Raises ``TlsError``.
        """
        keys = self._cookie_keys.accepted(now)
        hello = ClientHello.decode(whole.message)
        retried = redeem(hello, whole.unread, keys, five_tuple, now)
        return retried if self._retries else self.retried(five_tuple, retried)

    def retried(self, five_tuple: bytes, context: Retried) -> Answer:
        """Answer who has redeemed its cookie, here or in a front. Raises ``TlsError``."""
        if self.table.full:
            raise TableFull
        answered = answer(context, self._policy, self._entropy)
        if isinstance(answered, RetryNeeded):
            # RFC 8446, Section 4.1.4: no second HelloRetryRequest.
            raise PeerMisbehaved(Reason.BAD_KEY_SHARE)
        return self._store(five_tuple, answered)

    def reply(self, five_tuple: bytes, data: bytes) -> Established | int:
        """Take reply bytes: the finished connection, or how many bytes need not come again.

        On an error the slot is free, and ``error.alert`` still has to be sealed: see ``refuse``.
        """
        half_open = self.table.find(five_tuple)
        if half_open is None:
            raise PeerMisbehaved(Reason.UNEXPECTED_MESSAGE)
        result = finish(half_open, data)
        if isinstance(result, NeedMore):
            if result.consumed:
                self.table.put(five_tuple, result.half_open)
            return result.consumed
        self.table.take(five_tuple)
        return result

    def refuse(self, five_tuple: bytes | None, error: TlsError) -> bytes:
        """Free the slot; the alert record for the client, empty where none is owed."""
        half_open = None if five_tuple is None else self.table.take(five_tuple)
        if error.alert is None:
            return b""
        if half_open is None:
            return alert_record(error.alert)
        return half_open_alert(half_open, error.alert)

    def forget(self, five_tuple: bytes) -> None:
        """The client is gone: free the slot."""
        self.table.take(five_tuple)

    def _store(self, five_tuple: bytes, flight: Flight) -> Answer:
        self.table.put(five_tuple, flight.half_open)
        return Answer(flight.data, _REPLY)

    def _retry(
        self, hello: ClientHello, needed: RetryNeeded, five_tuple: bytes, now: float
    ) -> Answer:
        key = self._cookie_keys.current(now)
        data = retry(hello, needed.suite, needed.group, key, five_tuple, now)
        return Answer(data, _SECOND_HELLO)
