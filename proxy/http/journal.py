"""What happens to one request, noted as it happens; turned into a RequestRecord at the end."""

from __future__ import annotations

from proxy.http.head import RequestHead
from proxy.http.phases import Phase
from proxy.http.record import ClientFacts, RequestRecord
from proxy.upstream import ServerAddress

#: nginx's number for a request whose client left before an answer could be sent.
CLIENT_GONE_STATUS = 499


class Journal:
    """Mutable, one per request; read by nobody else until `record`."""

    __slots__ = (
        "attempts",
        "backend",
        "backend_time_s",
        "close",
        "head",
        "phase",
        "reason",
        "request_bytes",
        "request_id",
        "response_bytes",
        "sent_at",
        "server",
        "started",
        "status",
    )

    def __init__(self, request_id: bytes, started: float) -> None:
        self.request_id = request_id
        self.started = started
        self.head: RequestHead | None = None
        self.phase = Phase.READ_HEAD
        self.status = 0
        """Of the final response once it is being sent; 0 until then."""
        self.request_bytes = 0
        self.response_bytes = 0
        self.backend: str | None = None
        self.server: ServerAddress | None = None
        self.sent_at = 0.0
        self.backend_time_s: float | None = None
        self.attempts = 0
        self.reason: str | None = None
        self.close: str | None = None

    def enter(self, phase: Phase) -> None:
        """Go on to `phase`; FOLLOWS says from where."""
        self.phase = phase

    def record(self, client: ClientFacts, now: float) -> RequestRecord:
        """The request as it ended, at monotonic time `now`."""
        head = self.head
        return RequestRecord(
            request_id=self.request_id.decode("ascii"),
            client=client,
            method=b"" if head is None else head.method,
            target=b"" if head is None else head.target,
            minor_version=1 if head is None else head.minor_version,
            fields=() if head is None else head.fields,
            status=self.status or CLIENT_GONE_STATUS,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
            duration_s=now - self.started,
            backend=self.backend,
            server=self.server,
            backend_time_s=self.backend_time_s,
            attempts=self.attempts,
            phase=self.phase.label,
            reason=self.reason,
            close=self.close,
        )
