"""One request, from its head to its record, in the phases that `phases` names.

Rules: a request is sent again only if the client's bytes for it are all still at hand and a reused
connection failed before any byte of a response came, and the method is idempotent (RFC 9110,
section 9.2.2); upstream has tried other servers before, where none could be reached. The backend's
connection goes back to the pool only if both messages ended where they said. Once a response has
begun, failure can only be shown by breaking the connection off.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from proxy.http.backend_leg import BackendLeg, lease_from
from proxy.http.body import RequestBody, ResponseBody
from proxy.http.client_leg import ClientLeg
from proxy.http.clock import http_date
from proxy.http.delivery import Delivery, deliver
from proxy.http.errors import BackendFailed, ClientGone, RequestRefused
from proxy.http.fields import offered_upgrade, response_head
from proxy.http.framing import Bytes, request_framing
from proxy.http.head import RequestHead, ResponseHead
from proxy.http.journal import Journal
from proxy.http.phases import Phase
from proxy.http.routes import Route
from proxy.serve import Relay, RelayBroken

# 103 once, 102 every few seconds of a long operation: more is a backend gone wrong.
_INTERIM_LIMIT: Final = 100

_CLOSE: Final = b"Connection: close\r\n"
_KEEP: Final = {0: b"Connection: keep-alive\r\n", 1: b""}


class Exchange:
    """Serves one request whose head was read; `run` says whether another may follow."""

    __slots__ = ("_body", "_client", "_first", "_head", "_journal", "_keep", "_leg", "_upgrade")

    def __init__(self, client: ClientLeg, head: RequestHead, journal: Journal) -> None:
        settings = client.settings
        self._client = client
        self._head = head
        self._journal = journal
        self._body = RequestBody(
            request_framing(head.content_length, head.chunked), settings.request_body_limit_bytes
        )
        self._first: Bytes = b""
        self._upgrade = offered_upgrade(head, settings.upgrades)
        self._leg: BackendLeg | None = None
        self._keep = False

    async def run(self, rest: bytes) -> bool:
        """`rest` came behind the head. Never raises for what a peer did."""
        journal = self._journal
        try:
            await self._serve(rest)
        except (RequestRefused, BackendFailed) as error:
            await self._refuse(error.status, error.reason)
        except ClientGone as error:
            self._break_off(error.reason)
        except RelayBroken as error:
            self._break_off(f"tunnel_{error.reason}")
        finally:
            self._client.stream.when_readable(None)
            if self._leg is not None:
                self._leg.give_up()
            journal.request_bytes += self._body.received
        keep = self._keep and self._body.complete
        if not keep and journal.close is None:
            journal.close = self._close_reason()
        return keep

    async def _serve(self, rest: bytes) -> None:
        self._journal.enter(Phase.ROUTE)
        if rest:
            self._first, leftover = self._body.take(rest)
            self._client.stream.unread(leftover)
        route = self._route()
        while True:
            self._leg = leg = await self._connect(route)
            try:
                await self._attempt(leg, route)
                return
            except BackendFailed as error:
                leg.give_up()
                again = error.resend and not self._body.received
                if not again or self._journal.attempts >= self._client.settings.attempts:
                    raise

    def _route(self) -> Route:
        head = self._head
        limit = self._client.settings.request_body_limit_bytes
        if limit is not None and (head.content_length or 0) > limit:
            raise RequestRefused(413, "body_too_large")
        route = self._client.routes.match(head.host, head.form)
        if route is None:
            raise RequestRefused(404, "no_route")
        return route

    async def _connect(self, route: Route) -> BackendLeg:
        client, journal = self._client, self._journal
        journal.enter(Phase.CONNECT)
        journal.attempts += 1
        journal.backend = route.backend.settings.name
        lease = await lease_from(route.backend)
        journal.server = lease.server
        return BackendLeg(lease, route.backend, self._head, self._body, client.settings)

    async def _attempt(self, leg: BackendLeg, route: Route) -> None:
        client, journal, head = self._client, self._journal, self._head
        journal.enter(Phase.FORWARD)
        journal.sent_at = monotonic()
        host = leg.host if head.authority is None or not route.preserve_host else head.authority
        request = client.rewriter.head(head, journal.request_id, host, upgrade=self._upgrade)
        await leg.send(request + self._first)
        if self._body.complete:
            self._body.sent = True
            self._watch_client()
            await self._respond(leg)
            return
        failure = await self._both_ways(leg)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback has this frame: see `_both_ways`

    async def _both_ways(self, leg: BackendLeg) -> Exception | None:
        """Upload and answer at the same time; why that failed.

        A failure that is raised here has this frame, which has group and task, which have the
        failure: all that the connection has would wait for the collector.
        """
        try:
            async with asyncio.TaskGroup() as group:
                upload = group.create_task(self._upload(leg))
                await self._respond(leg)
                upload.cancel()
        except ExceptionGroup as failures:
            failures.__traceback__ = None  # of the group's own frame, which has `failures`
            return _foremost(failures)
        finally:
            del group, upload
        return None

    async def _upload(self, leg: BackendLeg) -> None:
        client = self._client
        await self._body.stream(
            client.stream, leg.stream, client.settings.body_timeout_s, leg.write_timeout_s
        )
        if self._body.complete:
            self._watch_client()

    def _watch_client(self) -> None:
        """Nobody reads from the client while the response is awaited; notice if it breaks off.

        A clean half-close is no sign of that: the client may still read.
        """
        stream = self._client.stream
        if stream.broken:
            raise ClientGone("client_closed")
        stream.when_readable(self._client_stirred)

    def _client_stirred(self) -> None:
        stream = self._client.stream
        if not stream.broken:
            # The beginning of another request; the client may still break off behind it.
            stream.when_readable(self._client_stirred)
        elif self._leg is not None:
            self._leg.abandon()

    async def _respond(self, leg: BackendLeg) -> None:
        self._journal.enter(Phase.AWAIT_RESPONSE)
        rest = b""
        for _ in range(_INTERIM_LIMIT):
            response, rest = await leg.response_head(rest)
            if response.status >= 200:
                self._journal.backend_time_s = monotonic() - self._journal.sent_at
                await self._relay(leg, response, rest)
                return
            if response.status == 101:
                await self._tunnel(leg, response, rest)
                return
            # RFC 9110, section 15.2: forwarded, but never to a 1.0 client.
            if self._head.minor_version == 1:
                await self._client.write(_interim(response), self._journal)
        raise leg.refused("too_many_interim_responses")

    async def _relay(self, leg: BackendLeg, response: ResponseHead, rest: bytes) -> None:
        """The final response, as its body comes."""
        client, journal = self._client, self._journal
        delivery = deliver(self._head, response)
        body = ResponseBody(delivery.framing, chunked=delivery.chunked)
        first = body.take(rest)
        self._keep = self._may_keep(response, delivery)
        connection = _KEEP[self._head.minor_version] if self._keep else _CLOSE
        block = response_head(response, http_date(), framing=delivery.lines, connection=connection)
        last = self._settle_if_over(leg, response, body)
        journal.enter(Phase.RESPOND)
        journal.status = response.status
        await client.write(block + first, journal, last=last)
        if body.complete:
            return
        journal.enter(Phase.RELAY_BODY)
        sink = client.stream if body.in_views else None
        while not body.complete:
            data = await leg.read(sink)
            encoded = body.take(data) if data else body.end()
            last = self._settle_if_over(leg, response, body)
            if encoded:
                await client.write(encoded, journal, last=last)

    def _settle_if_over(self, leg: BackendLeg, response: ResponseHead, body: ResponseBody) -> bool:
        """Before the client is waited for: a slow one must not hold the backend's connection.

        Whether the client's connection ends with what is sent now.
        """
        if not body.complete:
            return False
        leg.complete(reusable=body.delimited and response.keep_alive)
        return not self._keep

    def _may_keep(self, response: ResponseHead, delivery: Delivery) -> bool:
        """Whether the client is told that it may send another request."""
        if not self._head.keep_alive or not delivery.delimited or self._client.draining:
            return False
        # An error before the body was read is an early answer: the rest will not be.
        return self._body.complete or response.status < 400

    def _close_reason(self) -> str:
        """Why the client connection ends although nothing failed."""
        if self._journal.reason is not None:
            return self._journal.reason
        if not self._head.keep_alive:
            return "client_asked"
        if self._client.draining:
            return "draining"
        return "undelimited" if self._body.complete else "answered_early"

    async def _tunnel(self, leg: BackendLeg, response: ResponseHead, rest: bytes) -> None:
        client, journal, head = self._client, self._journal, self._head
        accepted = (response.upgrade or b"").lower()
        if not self._upgrade or head.upgrade is None or accepted != head.upgrade.lower():
            raise leg.refused("unasked_upgrade")
        journal.enter(Phase.TUNNEL)
        journal.status = response.status
        journal.close = "tunnel"
        lines = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % accepted
        block = response_head(response, http_date(), framing=b"", connection=lines)
        await client.write(block + rest, journal)
        relay = Relay(client.stream, leg.stream, client.settings.tunnel_idle_timeout_s)
        try:
            await relay.run()
            leg.complete(reusable=False)
        finally:
            journal.request_bytes += relay.up
            journal.response_bytes += relay.down

    async def _refuse(self, status: int, reason: str) -> None:
        client, journal = self._client, self._journal
        if self._leg is not None:
            self._leg.give_up()
        if journal.status:
            self._break_off(reason)
            return
        journal.reason = reason
        try:
            self._keep = await client.refuse(journal, status, consumed=self._body.complete)
        except ClientGone as error:
            self._break_off(error.reason)

    def _break_off(self, reason: str) -> None:
        """End what cannot be completed so that it cannot be taken for complete."""
        self._journal.reason = self._journal.close = reason
        self._keep = False
        self._client.stream.abort()


def _interim(response: ResponseHead) -> bytes:
    return response_head(response, b"", framing=b"", connection=b"")


def _foremost(failures: ExceptionGroup[Exception]) -> Exception:
    """What ended the exchange, where upload and response failed in the same turn."""
    order = (ClientGone, RequestRefused, Exception)
    return min(
        failures.exceptions,
        key=lambda error: next(i for i, kind in enumerate(order) if isinstance(error, kind)),
    )
