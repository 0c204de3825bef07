"""The client's side of a connection, as its requests share it.

Owns the counting of what is sent to the client and the mapping of what goes wrong there: a client
that resets, or takes nothing for too long, is gone, and every request ends the same way then.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from proxy.edge import Stream, StreamError
from proxy.http.clock import http_date
from proxy.http.errors import ClientGone, error_response
from proxy.http.fields import RequestRewriter
from proxy.http.framing import Bytes
from proxy.http.journal import Journal
from proxy.http.phases import Phase
from proxy.http.record import ClientFacts, Observer
from proxy.http.routes import RouteTable
from proxy.http.settings import HttpSettings

# After these the connection may go on, since the request itself was understood.
_HARMLESS: Final = frozenset({404, 502, 503, 504})


class ClientLeg:
    """One client connection with what is needed to serve its requests."""

    __slots__ = (
        "draining",
        "facts",
        "observer",
        "rewriter",
        "routes",
        "settings",
        "stream",
    )

    def __init__(
        self,
        stream: Stream,
        facts: ClientFacts,
        routes: RouteTable,
        settings: HttpSettings,
        observer: Observer,
    ) -> None:
        self.stream = stream
        self.facts = facts
        self.routes = routes
        self.settings = settings
        self.observer = observer
        self.rewriter = RequestRewriter(facts, settings)
        self.draining = False
        """Responses from now on say that the connection ends."""

    async def write(self, data: Bytes, journal: Journal, *, last: bool = False) -> None:
        """Raises ClientGone. `last`: nothing more is sent and the connection ends now."""
        send = self.stream.finish if last else self.stream.write
        try:
            await send(data, self.settings.client_write_timeout_s)
        except TimeoutError:
            raise ClientGone("client_stalled") from None
        except StreamError as error:
            raise ClientGone(f"client_{error.reason}") from None
        journal.response_bytes += len(data)

    async def refuse(self, journal: Journal, status: int, *, consumed: bool) -> bool:
        """Answer with `status`; whether the connection can go on. Raises ClientGone.

        `consumed`: the request was read to its end, so another may follow.
        """
        journal.enter(Phase.REFUSE)
        head = journal.head
        keep = head is not None and head.keep_alive and consumed and status in _HARMLESS
        keep = keep and not self.draining
        answer = error_response(
            status,
            journal.request_id,
            http_date(),
            close=not keep,
            head_only=head is not None and head.method == b"HEAD",
            minor_version=1 if head is None else head.minor_version,
        )
        await self.write(answer, journal, last=not keep)
        journal.status = status
        return keep

    def finish(self, journal: Journal) -> None:
        """Hand the record to the observer."""
        record = journal.record(self.facts, monotonic())
        journal.enter(Phase.LOG)
        self.observer.request_finished(record)
