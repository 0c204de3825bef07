"""`SslSession` in memory, against OpenSSL's own server side."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy.edge import SessionError
from proxy.tls import ApplicationData, CloseNotify
from proxy.upstream import BackendTls, CertificateRefused, SslSession, client_context
from tests.certs import Issued, ThrowAwayCa

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


class Server:
    """OpenSSL's server over memory BIOs."""

    def __init__(self, directory: Path, certificate: Issued) -> None:
        files = certificate.write(directory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def step(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()


def connected(
    directory: Path, ca: ThrowAwayCa, certificate: Issued | None = None, **tls: object
) -> tuple[SslSession, Server]:
    """Both sides after the handshake. Raises what the client raises."""
    settings = BackendTls(**{"ca_pem": ca.pem, **tls})  # type: ignore[arg-type]
    client = SslSession(client_context(settings), settings.server_name or "localhost")
    server = Server(directory, certificate or ca.issue(["localhost"]))
    data = b""
    while not client.handshake(data):
        server.incoming.write(client.data_to_send())
        server.step()
        data = server.outgoing.read()
    server.incoming.write(client.data_to_send())
    server.step()
    return client, server


def refusal(directory: Path, ca: ThrowAwayCa, certificate: Issued, **tls: object) -> str:
    with pytest.raises(CertificateRefused) as caught:
        connected(directory, ca, certificate, **tls)
    return caught.value.reason


class TestVerification:
    @pytest.mark.parametrize("key", ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519"])
    def test_a_good_certificate(self, tmp_path: Path, ca: ThrowAwayCa, key: str) -> None:
        client, _ = connected(tmp_path, ca, ca.issue(["localhost"], key=key))
        assert (client.version, client.alpn, client.resumed) == ("TLSv1.3", "http/1.1", False)

    def test_through_an_intermediate(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        connected(tmp_path, ca, ca.intermediate().issue(["localhost"]))

    def test_anchors_from_a_file(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        connected(tmp_path, ca, ca_pem=None, ca_file=str(ca.write(tmp_path)))

    def test_another_name_by_configuration(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        connected(tmp_path, ca, ca.issue(["app.internal"]), server_name="app.internal")

    def test_an_address_is_checked_as_one(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        connected(tmp_path, ca, ca.issue(["127.0.0.1"]), server_name="127.0.0.1")
        other = ca.issue(["127.0.0.2"])
        assert refusal(tmp_path, ca, other, server_name="127.0.0.1") == "name_mismatch"

    def test_a_wrong_name(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        assert refusal(tmp_path, ca, ca.issue(["other.example"])) == "name_mismatch"

    def test_an_unknown_authority(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        assert refusal(tmp_path, ca, ThrowAwayCa().issue(["localhost"])) == "unknown_ca"

    def test_the_systems_authorities_do_not_know_ours(
        self, tmp_path: Path, ca: ThrowAwayCa
    ) -> None:
        assert refusal(tmp_path, ca, ca.issue(["localhost"]), ca_pem=None) == "unknown_ca"

    def test_an_expired_certificate(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        old = ca.issue(
            ["localhost"], not_before=YESTERDAY, not_after=YESTERDAY + timedelta(hours=1)
        )
        assert refusal(tmp_path, ca, old) == "expired"

    def test_a_certificate_of_the_future(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        assert (
            refusal(tmp_path, ca, ca.issue(["localhost"], not_before=TOMORROW)) == "not_yet_valid"
        )

    def test_a_loaded_leaf_is_no_anchor(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        """VERIFY_X509_PARTIAL_CHAIN, Python's default from 3.13 on, would make it one."""
        leaf = ca.issue(["localhost"])
        assert refusal(tmp_path, ca, leaf, ca_pem=leaf.cert_pem) == "unknown_ca"
        context = client_context(BackendTls(ca_pem=leaf.cert_pem))
        assert not context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN

    def test_the_server_is_told(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        client = SslSession(client_context(BackendTls(ca_pem=ca.pem)), "localhost")
        server = Server(tmp_path, ThrowAwayCa().issue(["localhost"]))
        assert not client.handshake(b"")
        server.incoming.write(client.data_to_send())
        server.step()
        with pytest.raises(CertificateRefused):
            client.handshake(server.outgoing.read())
        server.incoming.write(client.data_to_send())
        with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
            server.tls.do_handshake()

    def test_off_by_name_only(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        connected(tmp_path, ca, ThrowAwayCa().issue(["other.example"]), verify=False)

    def test_nothing_below_tls_1_2(self) -> None:
        assert client_context(BackendTls()).minimum_version == ssl.TLSVersion.TLSv1_2

    @pytest.mark.parametrize("pem", [b"", b"nonsense", b"\xff"])
    def test_unreadable_anchors_are_an_error_at_start(self, pem: bytes) -> None:
        with pytest.raises(ValueError, match="trust anchors"):
            client_context(BackendTls(ca_pem=pem))

    def test_a_missing_file_is_an_error_at_start(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="trust anchors"):
            client_context(BackendTls(ca_file=str(tmp_path / "none.pem")))


class TestData:
    def test_both_ways_in_any_pieces(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        client, server = connected(tmp_path, ca)
        server.incoming.write(client.send(b"request") + client.send(memoryview(b" and more")))
        assert server.tls.read() + server.tls.read() == b"request and more"
        server.tls.write(b"response" * 5000)
        records = server.outgoing.read()
        received = b""
        for byte in records:
            for event in client.receive(memoryview(bytes([byte]))):
                assert isinstance(event, ApplicationData)
                received += event.data
        assert received == b"response" * 5000

    def test_bulk_in_one_piece(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        client, server = connected(tmp_path, ca)
        bulk = bytes(range(256)) * 4096
        server.incoming.write(client.send(bulk))
        received = b""
        while len(received) < len(bulk):
            received += server.tls.read(1 << 20)
        assert received == bulk
        assert client.send(b"") == b""

    def test_our_direction_ends_and_theirs_goes_on(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        client, server = connected(tmp_path, ca)
        server.tls.write(b"first")
        first = server.outgoing.read()
        client.receive(memoryview(first[:9]))
        server.incoming.write(client.close())
        assert server.tls.read() == b"", "close_notify"
        events = list(client.receive(memoryview(first[9:])))
        server.tls.write(b"second")
        events += client.receive(memoryview(server.outgoing.read()))
        assert events == [ApplicationData(b"first"), ApplicationData(b"second")]
        server.tls.unwrap()
        events = list(client.receive(memoryview(server.outgoing.read())))
        assert events == [CloseNotify()]
        client.receive_eof()

    def test_their_direction_ends_and_ours_goes_on(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        client, server = connected(tmp_path, ca)
        server.tls.write(b"all I say")
        with pytest.raises(ssl.SSLWantReadError):
            server.tls.unwrap()
        events = list(client.receive(memoryview(server.outgoing.read())))
        assert events == [ApplicationData(b"all I say"), CloseNotify()]
        client.receive_eof()
        server.incoming.write(client.send(b"still here"))
        assert server.tls.read() == b"still here"

    def test_eof_without_close_notify_truncates(self, tmp_path: Path, ca: ThrowAwayCa) -> None:
        client, _ = connected(tmp_path, ca)
        with pytest.raises(SessionError) as caught:
            client.receive_eof()
        assert caught.value.reason == "truncated"

    def test_a_broken_record_is_an_error_with_its_alert(
        self, tmp_path: Path, ca: ThrowAwayCa
    ) -> None:
        client, server = connected(tmp_path, ca)
        server.tls.write(b"response")
        record = bytearray(server.outgoing.read())
        record[-1] ^= 1
        with pytest.raises(SessionError) as caught:
            client.receive(memoryview(record))
        assert caught.value.reason == "tls_failed"
        server.incoming.write(client.data_to_send())
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            server.tls.read()

    @pytest.mark.parametrize("junk", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(600)])
    def test_no_tls_at_all(self, ca: ThrowAwayCa, junk: bytes) -> None:
        client = SslSession(client_context(BackendTls(ca_pem=ca.pem)), "localhost")
        client.handshake(b"")
        with pytest.raises(SessionError) as caught:
            client.handshake(junk)
        assert caught.value.reason == "tls_handshake"


def test_a_session_is_resumable_once_its_ticket_came(tmp_path: Path, ca: ThrowAwayCa) -> None:
    client, server = connected(tmp_path, ca)
    assert client.resumable is None
    assert list(client.receive(memoryview(server.outgoing.read()))) == [], "tickets only"
    assert client.resumable is not None
