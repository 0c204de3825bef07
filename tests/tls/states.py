"""Every message in every state, and what the server makes of it.

`python -m tests.tls.states` prints the table as the engine has it.

A cell says `done` (the state is left as it should be), `wait` (legal, more is awaited), `data`,
`close`, `ignored`, `peer` (the client ended it; nothing is owed) or the reason of the refusal,
whose alert stands in `ALERTS`. Handshake keys seal what is sent before `established`, application
keys what is sent from there on.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Final

from proxy.tls import (
    ApplicationData,
    CloseNotify,
    Connection,
    Established,
    Flight,
    HelloReader,
    NeedMore,
    PeerAborted,
    RetryNeeded,
    Secret,
    TlsError,
    answer,
    finish,
    read_hello,
    redeem,
    retry,
)
from proxy.tls.defaults import CCS_LIMIT
from proxy.tls.protection import Sealer
from proxy.wire import AlertDescription as Alert
from proxy.wire import CipherSuite, ClientHello, ContentType, HandshakeType, finished, handshake
from tests.tls.client import Client, key_update, seal_inner
from tests.tls.hello import hello
from tests.tls.material import ENTROPY, policy

__all__ = ["ALERTS", "MESSAGES", "STATES", "TABLE", "connected", "expected", "outcome", "record"]

TABLE: Final = """
message                     hello               second_hello        finished            skipping             established         closed
client_hello                done                done                unexpected_record   unexpected_record    unexpected_record   ignored
cookie_hello                bad_cookie          done                unexpected_record   unexpected_record    unexpected_record   ignored
hello_and_more              not_aligned         not_aligned         unexpected_record   unexpected_record    unexpected_record   ignored
half_hello                  wait                wait                unexpected_record   unexpected_record    unexpected_record   ignored
server_hello                unexpected_message  unexpected_message  unexpected_record   unexpected_record    unexpected_record   ignored
plain_finished              unexpected_message  unexpected_message  unexpected_record   unexpected_record    unexpected_record   ignored
plain_key_update            unexpected_message  unexpected_message  unexpected_record   unexpected_record    unexpected_record   ignored
plain_empty_handshake       empty_record        empty_record        unexpected_record   unexpected_record    unexpected_record   ignored
plain_alert                 peer                peer                peer                peer                 unexpected_record   ignored
plain_close_notify          peer                peer                peer                peer                 unexpected_record   ignored
plain_bad_alert             bad_alert           bad_alert           bad_alert           bad_alert            unexpected_record   ignored
plain_empty_alert           empty_record        empty_record        empty_record        empty_record         unexpected_record   ignored
change_cipher_spec          unexpected_record   wait                wait                wait                 unexpected_record   ignored
many_change_cipher_specs    unexpected_record   unexpected_record   unexpected_ccs      unexpected_ccs       unexpected_record   ignored
bad_change_cipher_spec      unexpected_record   unexpected_ccs      unexpected_ccs      unexpected_ccs       unexpected_record   ignored
empty_change_cipher_spec    unexpected_record   empty_record        unexpected_ccs      unexpected_ccs       unexpected_record   ignored
heartbeat                   unexpected_record   unexpected_record   unexpected_record   unexpected_record    unexpected_record   ignored
http_request                unexpected_record   unexpected_record   unexpected_record   unexpected_record    unexpected_record   ignored
garbage                     unexpected_record   wait                bad_record_mac      wait                 bad_record_mac      ignored
tiny_record                 unexpected_record   wait                bad_record_mac      wait                 bad_record_mac      ignored
overflow                    unexpected_record   record_overflow     record_overflow     record_overflow      record_overflow     ignored
finished                    unexpected_record   wait                done                done                 unexpected_message  ignored
finished_in_pieces          unexpected_record   wait                done                done                 unexpected_message  ignored
finished_and_more           unexpected_record   wait                not_aligned         not_aligned          unexpected_message  ignored
half_finished               unexpected_record   wait                wait                wait                 unexpected_message  ignored
wrong_finished              unexpected_record   wait                bad_finished        bad_finished         unexpected_message  ignored
short_finished              unexpected_record   wait                bad_finished_size   bad_finished_size    unexpected_message  ignored
ccs_inside_finished         unexpected_record   wait                unexpected_ccs      unexpected_ccs       unexpected_message  ignored
sealed_client_hello         unexpected_record   wait                unexpected_message  unexpected_message   unexpected_message  ignored
key_update                  unexpected_record   wait                unexpected_message  unexpected_message   wait                ignored
key_update_request          unexpected_record   wait                unexpected_message  unexpected_message   wait                ignored
bad_key_update              unexpected_record   wait                unexpected_message  unexpected_message   bad_key_update      ignored
long_key_update             unexpected_record   wait                unexpected_message  unexpected_message   bad_key_update_size ignored
two_key_updates             unexpected_record   wait                unexpected_message  unexpected_message   not_aligned         ignored
half_key_update             unexpected_record   wait                unexpected_message  unexpected_message   wait                ignored
data_inside_key_update      unexpected_record   wait                unexpected_message  unexpected_message   unexpected_record   ignored
alert_inside_key_update     unexpected_record   wait                unexpected_message  unexpected_message   bad_alert           ignored
certificate                 unexpected_record   wait                unexpected_message  unexpected_message   unexpected_message  ignored
end_of_early_data           unexpected_record   wait                unexpected_message  unexpected_message   unexpected_message  ignored
new_session_ticket          unexpected_record   wait                unexpected_message  unexpected_message   unexpected_message  ignored
unknown_handshake           unexpected_record   wait                unexpected_message  unexpected_message   unexpected_message  ignored
empty_handshake             unexpected_record   wait                empty_record        empty_record         empty_record        ignored
application_data            unexpected_record   wait                unexpected_record   unexpected_record    data                ignored
empty_application_data      unexpected_record   wait                unexpected_record   unexpected_record    wait                ignored
close_notify                unexpected_record   wait                peer                peer                 close               ignored
user_canceled               unexpected_record   wait                peer                peer                 wait                ignored
fatal_alert                 unexpected_record   wait                peer                peer                 peer                ignored
bad_alert                   unexpected_record   wait                bad_alert           bad_alert            bad_alert           ignored
empty_alert                 unexpected_record   wait                empty_record        empty_record         empty_record        ignored
sealed_ccs                  unexpected_record   wait                unexpected_record   unexpected_record    unexpected_record   ignored
no_content_type             unexpected_record   wait                no_content_type     no_content_type      no_content_type     ignored
inner_overflow              unexpected_record   wait                record_overflow     record_overflow      record_overflow     ignored
"""  # noqa: E501  # a table is read by columns

ALERTS: Final = {
    "bad_alert": Alert.DECODE_ERROR,
    "bad_cookie": Alert.ILLEGAL_PARAMETER,
    "bad_finished": Alert.DECRYPT_ERROR,
    "bad_finished_size": Alert.DECODE_ERROR,
    "bad_key_update": Alert.ILLEGAL_PARAMETER,
    "bad_key_update_size": Alert.DECODE_ERROR,
    "bad_record_mac": Alert.BAD_RECORD_MAC,
    "empty_record": Alert.UNEXPECTED_MESSAGE,
    "no_content_type": Alert.UNEXPECTED_MESSAGE,
    "not_aligned": Alert.UNEXPECTED_MESSAGE,
    "record_overflow": Alert.RECORD_OVERFLOW,
    "unexpected_ccs": Alert.UNEXPECTED_MESSAGE,
    "unexpected_message": Alert.UNEXPECTED_MESSAGE,
    "unexpected_record": Alert.UNEXPECTED_MESSAGE,
}


def record(content_type: int, fragment: bytes) -> bytes:
    """A plaintext record of any type."""
    return bytes((content_type, 3, 3)) + len(fragment).to_bytes(2) + fragment


# --- messages ------------------------------------------------------------------------------------

Message = Callable[[Client, Sealer], bytes]


def _plain(content_type: int, fragment: bytes) -> Message:
    return lambda client, sealer: record(content_type, fragment)


def _sealed(content_type: ContentType, *fragments: bytes) -> Message:
    return lambda client, sealer: b"".join(sealer.seal(content_type, one) for one in fragments)


def _finished(*sizes: int, more: bytes = b"", between: bytes = b"") -> Message:
    def build(client: Client, sealer: Sealer) -> bytes:
        message = client.finished() + more
        cuts = (0, *sizes, len(message))
        pieces = [message[start:end] for start, end in pairwise(cuts)]
        return between.join(sealer.seal(ContentType.HANDSHAKE, one) for one in pieces)

    return build


def _half_finished(client: Client, sealer: Sealer) -> bytes:
    return sealer.seal(ContentType.HANDSHAKE, client.finished()[:9])


def _half_key_update(kind: ContentType, then: bytes) -> Message:
    def build(client: Client, sealer: Sealer) -> bytes:
        return sealer.seal(ContentType.HANDSHAKE, key_update(0)[:2]) + sealer.seal(kind, then)

    return build


def _hello(more: bytes = b"", end: int | None = None) -> Message:
    def build(client: Client, sealer: Sealer) -> bytes:
        return record(22, (client.hello.encode() + more)[:end])

    return build


def _cookie_hello(client: Client, sealer: Sealer) -> bytes:
    return replace(client.hello, cookie=client.hello.cookie or b"cookie").records()


_CCS: Final = record(20, b"\1")
_HANDSHAKE, _ALERT, _DATA = (
    ContentType.HANDSHAKE,
    ContentType.ALERT,
    ContentType.APPLICATION_DATA,
)

MESSAGES: Final[Mapping[str, Message]] = {
    "client_hello": _hello(),
    "cookie_hello": _cookie_hello,
    "hello_and_more": _hello(more=b"\1"),
    "half_hello": _hello(end=60),
    "server_hello": _plain(22, handshake(HandshakeType.SERVER_HELLO, bytes(40))),
    "plain_finished": _plain(22, finished(bytes(32))),
    "plain_key_update": _plain(22, key_update(0)),
    "plain_empty_handshake": _plain(22, b""),
    "plain_alert": _plain(21, b"\2\x28"),
    "plain_close_notify": _plain(21, b"\1\0"),
    "plain_bad_alert": _plain(21, b"\2\x28\0"),
    "plain_empty_alert": _plain(21, b""),
    "change_cipher_spec": lambda client, sealer: _CCS,
    "many_change_cipher_specs": lambda client, sealer: (CCS_LIMIT + 1) * _CCS,
    "bad_change_cipher_spec": _plain(20, b"\2"),
    "empty_change_cipher_spec": _plain(20, b""),
    "heartbeat": _plain(24, b"\1\0\0"),
    "http_request": lambda client, sealer: b"GET / HTTP/1.1\r\nHost: server.example\r\n\r\n",
    "garbage": _plain(23, bytes(range(40))),
    "tiny_record": _plain(23, b"\0"),
    "overflow": _plain(23, bytes((1 << 14) + 257)),
    "finished": _finished(),
    "finished_in_pieces": _finished(1, 2, 5),
    "finished_and_more": _finished(more=b"\x14"),
    "half_finished": _half_finished,
    "wrong_finished": _sealed(_HANDSHAKE, finished(bytes(32))),
    "short_finished": _sealed(_HANDSHAKE, finished(bytes(31))),
    "ccs_inside_finished": _finished(9, between=_CCS),
    "sealed_client_hello": _sealed(_HANDSHAKE, hello().encode()),
    "key_update": _sealed(_HANDSHAKE, key_update(0)),
    "key_update_request": _sealed(_HANDSHAKE, key_update(1)),
    "bad_key_update": _sealed(_HANDSHAKE, key_update(2)),
    "long_key_update": _sealed(_HANDSHAKE, handshake(HandshakeType.KEY_UPDATE, b"\0\0")),
    "two_key_updates": _sealed(_HANDSHAKE, 2 * key_update(0)),
    "half_key_update": _sealed(_HANDSHAKE, key_update(0)[:3]),
    "data_inside_key_update": _half_key_update(_DATA, b"data"),
    "alert_inside_key_update": _half_key_update(_ALERT, b"\1\0"),
    "certificate": _sealed(_HANDSHAKE, handshake(HandshakeType.CERTIFICATE, bytes(4))),
    "end_of_early_data": _sealed(_HANDSHAKE, handshake(HandshakeType.END_OF_EARLY_DATA, b"")),
    "new_session_ticket": _sealed(
        _HANDSHAKE, handshake(HandshakeType.NEW_SESSION_TICKET, bytes(20))
    ),
    "unknown_handshake": _sealed(_HANDSHAKE, b"\xfa\0\0\0"),
    "empty_handshake": _sealed(_HANDSHAKE, b""),
    "application_data": _sealed(_DATA, b"data"),
    "empty_application_data": _sealed(_DATA, b""),
    "close_notify": _sealed(_ALERT, b"\1\0"),
    "user_canceled": _sealed(_ALERT, b"\1\x5a"),
    "fatal_alert": _sealed(_ALERT, b"\2\x28"),
    "bad_alert": _sealed(_ALERT, b"\2"),
    "empty_alert": _sealed(_ALERT, b""),
    "sealed_ccs": _sealed(ContentType.CHANGE_CIPHER_SPEC, b"\1"),
    "no_content_type": lambda client, sealer: seal_inner(sealer, bytes(30)),
    "inner_overflow": lambda client, sealer: seal_inner(sealer, bytes((1 << 14) + 1) + b"\x17"),
}

# --- states --------------------------------------------------------------------------------------

_KEY: Final = Secret(bytes(32))
_CONNECTION: Final = b"5-tuple"


def _flight_for(client: Client) -> Flight:
    whole = read_hello(client.start())
    assert not isinstance(whole, HelloReader)
    flight = answer(ClientHello.decode(whole.message), policy(), ENTROPY)
    assert isinstance(flight, Flight)
    client.receive(flight.data)
    return flight


def _in_hello(message: Message) -> str:
    client = Client()
    _flight_for(client)  # keys for what a client could seal
    read = read_hello(message(client, client.handshake))
    if isinstance(read, HelloReader):
        return "wait"
    answered = answer(ClientHello.decode(read.message), policy(), ENTROPY)
    return "done" if isinstance(answered, Flight) else "retry"


def _in_second_hello(message: Message) -> str:
    client = Client(hello(early_data=True))
    _flight_for(client)
    sealer = client.handshake
    first = client.hello
    decoded = ClientHello.decode(first.encode())
    asked = answer(decoded, policy(), ENTROPY)
    assert not isinstance(asked, RetryNeeded)
    needed = RetryNeeded(client.parameters, policy().groups[1])
    data = retry(decoded, needed.suite, needed.group, _KEY, _CONNECTION, 0.0)
    client.start()
    client.retry(data)
    client.hello = replace(first, early_data=False, cookie=client.cookie)
    reader = HelloReader(second=True, skip=1 << 15)
    whole = reader.receive(message(client, sealer))
    if whole is None:
        return "wait"
    context = redeem(ClientHello.decode(whole.message), whole.unread, (_KEY,), _CONNECTION, 1.0)
    return "done" if isinstance(answer(context, policy(), ENTROPY), Flight) else "retry"


def _in_finished(message: Message, *, early_data: bool = False) -> str:
    client = Client(hello(early_data=early_data))
    flight = _flight_for(client)
    result = finish(flight.half_open, message(client, client.handshake))
    return "wait" if isinstance(result, NeedMore) else "done"


def connected(
    suite: CipherSuite = CipherSuite.TLS_AES_128_GCM_SHA256,
) -> tuple[Client, Connection]:
    """Both sides of a finished handshake."""
    client = Client(hello(suites=[suite]))
    context = finish(_flight_for(client).half_open, client.finish())
    assert isinstance(context, Established)
    return client, Connection(context)


def _in_established(message: Message) -> str:
    client, connection = connected()
    events = connection.receive(message(client, client.sealer))
    names = {ApplicationData: "data", CloseNotify: "close"}
    return names[type(events[0])] if events else "wait"


def _in_closed(message: Message) -> str:
    client, connection = connected()
    assert connection.receive(client.close()) == [CloseNotify()]
    assert connection.receive(message(client, client.sealer)) == []
    return "ignored"


STATES: Final[Mapping[str, Callable[[Message], str]]] = {
    "hello": _in_hello,
    "second_hello": _in_second_hello,
    "finished": _in_finished,
    "skipping": lambda message: _in_finished(message, early_data=True),
    "established": _in_established,
    "closed": _in_closed,
}


def outcome(state: str, message: str) -> tuple[str, Alert | None]:
    """What happens: the cell, and the alert that the client is sent."""
    try:
        return STATES[state](MESSAGES[message]), None
    except PeerAborted as error:
        return "peer", error.alert
    except TlsError as error:
        return error.reason, error.alert


def expected() -> dict[tuple[str, str], str]:
    """The table: (state, message) -> cell."""
    head, *rows = (line.split() for line in TABLE.strip().splitlines())
    return {
        (state, row[0]): cell for row in rows for state, cell in zip(head[1:], row[1:], strict=True)
    }


def main() -> None:
    """Print the table as the engine has it."""
    width = max(map(len, MESSAGES)) + 2
    lines = [f"{'message':{width}}" + "".join(f"{state:21}" for state in STATES)]
    for message in MESSAGES:
        cells = "".join(f"{outcome(state, message)[0]:21}" for state in STATES)
        lines.append(f"{message:{width}}{cells}")
    sys.stdout.writelines(line.rstrip() + "\n" for line in lines)


if __name__ == "__main__":
    main()
