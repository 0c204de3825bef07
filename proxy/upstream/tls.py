"""TLS toward backends: OpenSSL's client over two memory BIOs, as a stream's session.

asyncio's own TLS has no session parameter and no half-close; an `SSLObject` that we feed has
both. Verification is on unless the operator switched it off by name.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from typing import Final

from proxy.edge import SessionError
from proxy.tls import ApplicationData, CloseNotify
from proxy.upstream.settings import BackendTls

# OpenSSL hands out one record at a time (RFC 8446, Section 5.1).
_RECORD: Final = 16384

_VERIFY_REASONS: Final = {
    9: "not_yet_valid",
    10: "expired",
    18: "unknown_ca",
    19: "unknown_ca",
    20: "unknown_ca",
    21: "unknown_ca",
    23: "revoked",
    24: "invalid_ca",
    26: "wrong_purpose",
    62: "name_mismatch",
    64: "name_mismatch",
    66: "weak_key",
    67: "weak_key",
    68: "weak_signature",
}
"""X509_V_ERR_* (openssl/x509_vfy.h) to labels of metrics."""


class CertificateRefused(SessionError):
    """The server's certificate did not verify: the reason is one of a bounded set."""


def client_context(settings: BackendTls) -> ssl.SSLContext:
    """The context for a group's servers. Raises ValueError where the anchors cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    # From Python 3.13 on a loaded certificate that is no root would be an anchor by default.
    context.verify_flags &= ~ssl.VERIFY_X509_PARTIAL_CHAIN
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if settings.ca_pem is not None:
            context.load_verify_locations(cadata=settings.ca_pem.decode("ascii"))
        elif settings.ca_file is not None:
            context.load_verify_locations(cafile=settings.ca_file)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    except (OSError, ValueError) as error:
        raise ValueError(f"trust anchors: {error}") from error
    return context


class SslSession:
    """One TLS connection to a backend: first `handshake` until True, then a `Session`."""

    __slots__ = ("_closed_by_peer", "_incoming", "_object", "_outgoing")

    def __init__(
        self, context: ssl.SSLContext, server_name: str, resume: ssl.SSLSession | None = None
    ) -> None:
        """`server_name` is sent (unless it is an address) and checked where the context does.

        `resume` is a session of the same context and server; the server may decline it.
        """
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._closed_by_peer = False
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_name, session=resume
        )

    @property
    def resumed(self) -> bool:
        """The server took up an earlier session: no certificate, no signature."""
        return bool(self._object.session_reused)

    @property
    def alpn(self) -> str | None:
        """The protocol that the server chose."""
        return self._object.selected_alpn_protocol()

    @property
    def version(self) -> str | None:
        """`TLSv1.2` or `TLSv1.3`, once known."""
        return self._object.version()

    @property
    def resumable(self) -> ssl.SSLSession | None:
        """The newest session that a later connection to this server can resume.

        With TLS 1.3 only from the first ticket on, which follows the handshake (RFC 8446,
        Section 4.6.1).
        """
        session = self._object.session
        if session is None or not (session.has_ticket or (session.id and self._is_tls12)):
            return None
        return session

    @property
    def _is_tls12(self) -> bool:
        return self._object.version() == "TLSv1.2"

    def handshake(self, data: bytes) -> bool:
        """Take bytes from the server; True when both sides are done.

        `data_to_send` has what to send next, after a failure too. Raises CertificateRefused
        and SessionError.
        """
        self._incoming.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            reason = _VERIFY_REASONS.get(error.verify_code, "verify_failed")
            raise CertificateRefused(reason, error.verify_message) from error
        except ssl.SSLError as error:
            raise SessionError("tls_handshake", str(error)) from error
        return True

    def receive(self, data: memoryview, /) -> Sequence[ApplicationData | CloseNotify]:
        """Open every whole record. Raises SessionError."""
        self._incoming.write(data)
        events: list[ApplicationData | CloseNotify] = []
        try:
            # A first read even without data: the handshake's last flight may have brought some.
            while plaintext := self._object.read(_RECORD):
                events.append(ApplicationData(plaintext))
                if not self._incoming.pending and not self._object.pending():
                    return events  # spares the exception below, which costs more than a record
            self._closed_by_peer = True
            events.append(CloseNotify())
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._closed_by_peer = True
            events.append(CloseNotify())
        except ssl.SSLError as error:
            raise SessionError("tls_failed", str(error)) from error
        return events

    def receive_view(self, data: memoryview, _: memoryview, /) -> tuple[memoryview, bool]:
        """Open every whole record. Raises SessionError."""
        events = self.receive(data)
        parts = [event.data for event in events if isinstance(event, ApplicationData)]
        return memoryview(b"".join(parts)), self._closed_by_peer

    def receive_eof(self) -> None:
        """RFC 8446, Section 6.1: FIN without close_notify is a truncation. Raises SessionError."""
        if not self._closed_by_peer:
            raise SessionError("truncated")

    def send(self, plaintext: bytes | memoryview, /) -> bytes:
        """Seal records. Raises SessionError."""
        try:
            written = self._object.write(plaintext) if plaintext else 0
            if written < len(plaintext):
                view = memoryview(plaintext)
                while written < len(view):
                    written += self._object.write(view[written:])
        except ssl.SSLError as error:
            raise SessionError("tls_failed", str(error)) from error
        return self._outgoing.read()

    def close(self) -> bytes:
        """Our close_notify; reading goes on (RFC 8446, Section 6.1)."""
        # SSLWantReadError: the server's own close_notify has not come, nor need it.
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
        return self._outgoing.read()

    def data_to_send(self) -> bytes:
        """Handshake messages, a KeyUpdate answer, or the alert after a failure."""
        return self._outgoing.read() if self._outgoing.pending else b""
