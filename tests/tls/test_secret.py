"""No secret shows in a repr, an exception or a pickle; none is compared in variable time."""

import copy
import logging
import pickle
import traceback
from collections.abc import Callable

import pytest

from proxy.tls import (
    Connection,
    Flight,
    NeedMore,
    Secret,
    TlsError,
    answer,
    encode_context,
    finish,
    redeem,
    retry,
)
from proxy.tls.half_open import HalfOpen
from proxy.tls.key_exchange import agree
from proxy.tls.key_schedule import HandshakeStage
from proxy.tls.suites import PARAMETERS
from proxy.wire import CipherSuite, ClientHello, ContentType, NamedGroup
from tests.tls.client import Client
from tests.tls.hello import Share, hello
from tests.tls.material import ENTROPY, credential, issued, policy
from tests.tls.states import connected

VALUE = bytes(range(200, 232))


def shows(text: str, secret: bytes) -> bool:
    """Whether any eight bytes of the secret stand in the text, as hex or as a bytes literal."""
    for start in range(len(secret) - 7):
        piece = secret[start : start + 8]
        if piece.hex() in text.lower() or repr(piece)[2:-1] in text:
            return True
    return False


def test_the_check_itself() -> None:
    assert shows(repr(b"x" + VALUE), VALUE)
    assert shows(VALUE.hex().upper(), VALUE)
    assert not shows(repr(Secret(VALUE)), VALUE)


@pytest.mark.parametrize("form", [repr, str, "{}".format, "%s".__mod__, ascii])
def test_secret_prints_as_nothing(form: Callable[[object], str]) -> None:
    assert form(Secret(VALUE)) == "Secret(...)"


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy])
def test_secret_is_not_copied_out(leak: Callable[[object], object]) -> None:
    with pytest.raises(TypeError):
        leak(Secret(VALUE))


def test_secret_is_not_compared_or_hashed() -> None:
    with pytest.raises(TypeError, match="compare_digest"):
        _ = Secret(VALUE) == Secret(VALUE)
    with pytest.raises(TypeError, match="hashing"):
        hash(Secret(VALUE))
    assert Secret(VALUE).reveal() == VALUE


def test_no_value_of_a_handshake_shows_its_secrets() -> None:
    client = Client()
    client.start()
    flight = answer(ClientHello.decode(client.hello.encode()), policy(), ENTROPY)
    assert isinstance(flight, Flight)
    client.receive(flight.data)
    kept = HalfOpen.unpack(flight.half_open)
    start = client.handshake.seal(ContentType.HANDSHAKE, client.finished()[:7])
    waiting = finish(flight.half_open, start)
    assert isinstance(waiting, NeedMore)
    secrets = [kept.client_secret(), kept.handshake_secret, kept.pack()[-40:]]
    for value in (flight, kept, waiting, [flight], {"kept": kept}):
        assert not any(shows(repr(value), secret) for secret in secrets), type(value)
        assert not any(shows(str(value), secret) for secret in secrets)


def test_no_value_of_a_connection_shows_its_secrets() -> None:
    _, connection = connected()
    opener, sealer = connection._opener, connection._sealer
    secrets = [opener.secret, sealer.secret]
    shown = [repr(connection), repr(opener), repr(sealer)]
    context = connection.export()
    shown += [repr(context), repr(Connection(context).context)]
    assert not any(shows(text, secret) for text in shown for secret in secrets)
    assert any(shows(repr(encode_context(context)), secret) for secret in secrets)


def test_no_value_of_a_key_exchange_shows_its_secret() -> None:
    agreed = agree(NamedGroup.X25519, Share.new(NamedGroup.X25519).key_exchange)
    stage = HandshakeStage.from_shared_secret("sha256", agreed.secret)
    for value, secret in (
        (agreed, agreed.secret),
        (stage, stage.secret),
        (stage.master(), stage.master().secret),
    ):
        assert not shows(repr(value), secret)


def test_no_value_of_a_credential_shows_its_key() -> None:
    key = issued().key_pem
    for value in (credential(), credential().signer, policy()):
        assert not shows(repr(value), key.replace(b"\n", b""))
        assert b"PRIVATE" not in repr(value).encode()


def test_errors_and_tracebacks_show_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    _, connection = connected()
    secret = connection._opener.secret
    cookie_key = Secret(VALUE)
    decoded = ClientHello.decode(hello(cookie=b"forged").encode())
    attempts: list[Callable[[], object]] = [
        lambda: connection.receive(b"\x17\3\3\0\x20" + bytes(32)),
        lambda: redeem(decoded, b"", (cookie_key,), b"connection", 0.0),
    ]
    for attempt in attempts:
        with pytest.raises(TlsError) as caught:
            attempt()
        logging.getLogger("test").error("refused", exc_info=caught.value)
        text = "".join(traceback.format_exception(caught.value)) + caplog.text
        assert not shows(text, secret)
        assert not shows(text, VALUE)


def test_cookie_does_not_carry_its_key() -> None:
    decoded = ClientHello.decode(hello(shares=[]).encode())
    parameters = PARAMETERS[CipherSuite.TLS_AES_128_GCM_SHA256]
    data = retry(decoded, parameters, NamedGroup.X25519, Secret(VALUE), b"connection", 0.0)
    assert not shows(data.hex(), VALUE)
