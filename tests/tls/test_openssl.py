"""Against OpenSSL, in memory: each suite and certificate, both directions, closing, moving."""

import contextlib
import ssl
from collections.abc import Sequence

import pytest

from proxy.tls import (
    ApplicationData,
    CloseNotify,
    Connection,
    Credential,
    Established,
    Flight,
    HelloReader,
    Policy,
    RetryNeeded,
    Secret,
    ServerName,
    TlsError,
    answer,
    decode_context,
    encode_context,
    finish,
    half_open_alert,
    read_hello,
    redeem,
    retry,
)
from proxy.wire import CipherSuite, ClientHello, NamedGroup, alert_record
from tests.certs import ThrowAwayCa
from tests.tls.material import CERTIFICATE_KINDS, ENTROPY, NAME, authority, policy

DATA = bytes(index % 255 for index in range(100_000))
COOKIE_KEY = Secret(bytes(32))
CURVES = [("prime256v1", NamedGroup.SECP256R1), ("secp384r1", NamedGroup.SECP384R1)]


class OpensslClient:
    """An ``SSLObject`` between two memory buffers."""

    def __init__(
        self,
        *,
        curve: str | None = None,
        alpn: Sequence[str] = (),
        trusted: bytes | None = None,
        maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        context = ssl.create_default_context(cadata=(trusted or authority().pem).decode())
        context.maximum_version = maximum
        if curve is not None:
            context.set_ecdh_curve(curve)
        if alpn:
            context.set_alpn_protocols(alpn)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._in, self._out, server_hostname=NAME)

    def shake(self, data: bytes = b"") -> bytes:
        """Go on with the handshake; what is to be sent."""
        self._in.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.ssl.do_handshake()
        return self._out.read()

    def write(self, data: bytes) -> bytes:
        self.ssl.write(data)
        return self._out.read()

    def read(self, data: bytes | bytearray, size: int) -> bytes:
        self._in.write(data)
        found = b""
        while len(found) < size:
            found += self.ssl.read(size)
        return found

    def close(self, data: bytes = b"") -> bytes:
        self._in.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.ssl.unwrap()
        return self._out.read()


def handshake(client: OpensslClient, ours: Policy) -> Connection:
    """The whole handshake, with a retry where one is needed."""
    whole = read_hello(client.shake())
    assert not isinstance(whole, HelloReader)
    hello = ClientHello.decode(whole.message)
    flight = answer(hello, ours, ENTROPY)
    if isinstance(flight, RetryNeeded):
        asked = retry(hello, flight.suite, flight.group, COOKIE_KEY, b"connection", 1.0)
        reader = HelloReader(second=True)
        second = reader.receive(client.shake(asked))
        assert second is not None
        decoded = ClientHello.decode(second.message)
        context = redeem(decoded, second.unread, (COOKIE_KEY,), b"connection", 1.5)
        flight = answer(context, ours, ENTROPY)
    assert isinstance(flight, Flight)
    established = finish(flight.half_open, client.shake(flight.data))
    assert isinstance(established, Established)
    return Connection(established)


def assert_both_directions(client: OpensslClient, connection: Connection) -> None:
    events = connection.receive(client.write(DATA))
    assert b"".join(one.data for one in events if isinstance(one, ApplicationData)) == DATA
    assert client.read(connection.send(DATA), len(DATA)) == DATA
    assert client.read(connection.send(b"short"), 5) == b"short"


@pytest.mark.requirement("A41")
@pytest.mark.parametrize("suite", CipherSuite)
@pytest.mark.parametrize("kind", CERTIFICATE_KINDS)
def test_each_suite_with_each_certificate(suite: CipherSuite, kind: str) -> None:
    entry = policy(kind).names
    client = OpensslClient()
    connection = handshake(client, Policy(names=entry, suites=(suite,)))
    assert client.ssl.version() == "TLSv1.3"
    cipher = client.ssl.cipher()
    assert cipher is not None
    assert cipher[0] == suite.name
    assert_both_directions(client, connection)


@pytest.mark.parametrize(("curve", "group"), CURVES)
def test_each_curve(curve: str, group: NamedGroup) -> None:
    client = OpensslClient(curve=curve)
    connection = handshake(client, policy())
    assert connection.context.group == group
    assert_both_directions(client, connection)


@pytest.mark.parametrize("group", [NamedGroup.SECP256R1, NamedGroup.SECP384R1])
def test_retry_for_a_missing_share(group: NamedGroup) -> None:
    client = OpensslClient()
    connection = handshake(client, policy(groups=(group,)))
    assert connection.context.group == group
    assert_both_directions(client, connection)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2", "http/1.1"], "http/1.1"), ([], None), (["http/1.1"], "http/1.1")],
)
def test_alpn(offered: list[str], chosen: str | None) -> None:
    client = OpensslClient(alpn=offered)
    connection = handshake(client, policy(alpn=(b"http/1.1",)))
    assert client.ssl.selected_alpn_protocol() == connection.context.alpn == chosen


@pytest.mark.parametrize("key", ["ecdsa-p256", "rsa-2048"])
def test_chain_with_an_intermediate(key: str) -> None:
    root = ThrowAwayCa("root", key=key)
    pair = root.intermediate().issue([NAME])
    chained = Credential.from_pem(pair.cert_pem, Secret(pair.key_pem))
    client = OpensslClient(trusted=root.pem)
    handshake(client, Policy(names={NAME: ServerName(0, (chained,))}))


def test_untrusted_certificate_ends_in_its_alert() -> None:
    client = OpensslClient(trusted=ThrowAwayCa("other").pem)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, policy())


def test_closing_by_the_client() -> None:
    client = OpensslClient()
    connection = handshake(client, policy())
    assert connection.receive(client.close()) == [CloseNotify()]
    assert client.close(connection.close()) == b""


def test_closing_by_us() -> None:
    client = OpensslClient()
    connection = handshake(client, policy())
    assert client.read(connection.send(b"last"), 4) == b"last"
    assert connection.receive(client.close(connection.close())) == [CloseNotify()]


@pytest.mark.requirement("A35", "A42")
def test_moved_in_the_midst_of_a_record() -> None:
    client = OpensslClient()
    connection = handshake(client, policy())
    for turn in range(3):
        data = client.write(DATA)
        split = 30_000 + turn
        events = connection.receive(data[:split])
        context = decode_context(encode_context(connection.export()))
        assert isinstance(context, Established)
        connection = Connection(context)
        events += connection.receive(data[split:])
        assert b"".join(one.data for one in events if isinstance(one, ApplicationData)) == DATA
        assert client.read(connection.send(DATA), len(DATA)) == DATA


def test_refusal_is_understood() -> None:
    client = OpensslClient(maximum=ssl.TLSVersion.TLSv1_2)
    whole = read_hello(client.shake())
    assert not isinstance(whole, HelloReader)
    with pytest.raises(TlsError) as caught:
        answer(ClientHello.decode(whole.message), policy(), ENTROPY)
    assert caught.value.alert is not None
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        client.shake(alert_record(caught.value.alert))


def test_alert_behind_our_flight_is_understood() -> None:
    client = OpensslClient()
    whole = read_hello(client.shake())
    assert not isinstance(whole, HelloReader)
    flight = answer(ClientHello.decode(whole.message), policy(), ENTROPY)
    assert isinstance(flight, Flight)
    client.shake(flight.data)
    with pytest.raises(TlsError) as caught:
        finish(flight.half_open, b"\x17\3\3\0\x20" + bytes(32))
    assert caught.value.alert is not None
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        client.read(half_open_alert(flight.half_open, caught.value.alert), 1)
