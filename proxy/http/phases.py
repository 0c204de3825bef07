"""The phases of one request, in order, and which may follow which.

This is the map of `exchange`: every phase is entered there by its name, the last one entered is
in the request's record, and `table()` prints the whole. Up- and download overlap: the request
body is sent by a task of its own from FORWARD on, so there is no phase for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final


class Phase(Enum):
    """A phase and what is done in it."""

    READ_HEAD = "wait for a request, read and check its head"
    ROUTE = "apply limits and choose the route"
    CONNECT = "take a connection to the backend from the pool or make one"
    FORWARD = "send the rewritten head and the body at hand; stream what is still to come"
    AWAIT_RESPONSE = "read the response head; relay interim responses"
    RESPOND = "send the rewritten response head and the body at hand"
    RELAY_BODY = "stream the rest of the response body"
    TUNNEL = "relay bytes both ways after 101 until both sides have ended"
    REFUSE = "answer with this proxy's own error response"
    LOG = "settle the backend connection and hand the record to the observer"

    label: str

    def __init__(self, _: str) -> None:
        # An attribute: to ask an enum for its name is slower than to make the rest of a record.
        self.label = self._name_.lower()


#: What may follow each phase. A failed attempt goes back to CONNECT if it may be sent again; LOG
#: follows at once where the client has gone.
FOLLOWS: Final[Mapping[Phase, frozenset[Phase]]] = MappingProxyType(
    {
        Phase.READ_HEAD: frozenset({Phase.ROUTE, Phase.REFUSE, Phase.LOG}),
        Phase.ROUTE: frozenset({Phase.CONNECT, Phase.REFUSE}),
        Phase.CONNECT: frozenset({Phase.FORWARD, Phase.REFUSE}),
        Phase.FORWARD: frozenset({Phase.AWAIT_RESPONSE, Phase.CONNECT, Phase.REFUSE, Phase.LOG}),
        Phase.AWAIT_RESPONSE: frozenset(
            {Phase.RESPOND, Phase.TUNNEL, Phase.CONNECT, Phase.REFUSE, Phase.LOG}
        ),
        Phase.RESPOND: frozenset({Phase.RELAY_BODY, Phase.LOG}),
        Phase.RELAY_BODY: frozenset({Phase.LOG}),
        Phase.TUNNEL: frozenset({Phase.LOG}),
        Phase.REFUSE: frozenset({Phase.LOG}),
        Phase.LOG: frozenset(),
    }
)


def table() -> str:
    """The phases as text, one line each: name, what is done, what may follow."""
    order = list(Phase)
    lines = []
    for phase in order:
        following = sorted(FOLLOWS[phase], key=order.index)
        names = ", ".join(after.name.lower() for after in following) or "-"
        lines.append(f"{phase.name.lower():15} {phase.value}\n{'':15} then: {names}")
    return "\n".join(lines)
