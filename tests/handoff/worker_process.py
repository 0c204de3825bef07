"""A worker process for tests, started by exec with its end of a channel.

    python -m tests.handoff.worker_process DESCRIPTOR serve
    python -m tests.handoff.worker_process DESCRIPTOR accept-then-stop COUNT

`serve` accepts everything and writes its payload to the client, after the acknowledgement went
out. `accept-then-stop` acknowledges the first COUNT offers, says so on standard output, then
reads nothing more and waits to be killed.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

from proxy.handoff import AcceptanceSent, ChannelSettings, Closed, Offered, Sink


def serve(sink: Sink) -> None:
    held: dict[int, Offered] = {}
    poll = select.poll()
    while True:
        poll.register(sink, select.POLLIN | (select.POLLOUT if sink.wants_write else 0))
        poll.poll()
        sink.flush()
        events = sink.receive()
        new = [event for event in events if isinstance(event, Offered)]
        held.update((event.id, event) for event in new)
        ready = [event.id for event in new] if sink.accept([event.id for event in new]) else []
        for event in events:
            if isinstance(event, AcceptanceSent):
                ready += event.ids
            if isinstance(event, Closed):
                return
        for offer_id in ready:
            event = held.pop(offer_id)
            os.write(event.descriptor, b"%d:%s" % (os.getpid(), event.payload))
            os.close(event.descriptor)


def accept_then_stop(sink: Sink, count: int) -> None:
    accepted = 0
    while accepted < count:
        select.select([sink], [], [])
        ids = [event.id for event in sink.receive() if isinstance(event, Offered)]
        chosen = ids[: count - accepted]
        if not sink.accept(chosen):
            raise SystemExit("the acknowledgement did not go out")
        accepted += len(chosen)
    sys.stdout.write("accepted\n")
    sys.stdout.flush()
    signal.pause()


def main() -> None:
    descriptor, mode, *rest = sys.argv[1:]
    sink = Sink(socket.socket(fileno=int(descriptor)), ChannelSettings(window=64))
    sink.flush()
    if mode == "serve":
        serve(sink)
    else:
        accept_then_stop(sink, int(rest[0]))


if __name__ == "__main__":
    main()
