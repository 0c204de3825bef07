"""Hand-off to real processes, one of which is killed."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.handoff import (
    Accepted,
    ChannelSettings,
    CloseReason,
    Detached,
    Dispatcher,
    DispatcherEvent,
    DispatcherSettings,
    Offer,
    Source,
    channel_pair,
)
from proxy.telemetry import Metrics
from tests.handoff.ends import clients

TIMEOUT_S = 30.0


@contextmanager
def worker(*mode: str) -> Iterator[tuple[Source, subprocess.Popen[str]]]:
    """A worker process, and the source of the channel to it."""
    ours, theirs = channel_pair()
    command = [sys.executable, "-m", "tests.handoff.worker_process", str(theirs.fileno()), *mode]
    with subprocess.Popen(
        command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True
    ) as process:
        theirs.close()
        source = Source(ours, ChannelSettings())
        try:
            yield source, process
        finally:
            source.close()
            process.kill()


def run(dispatcher: Dispatcher, *sources: Source) -> list[DispatcherEvent]:
    """Wait until one of the sources is ready, and handle all."""
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN | (select.POLLOUT if source.wants_write else 0))
    assert poll.poll(TIMEOUT_S * 1000), "the workers are silent"
    events = dispatcher.flush(0.0)
    for source in sources:
        events += dispatcher.receive(source, 0.0)
    return events


def accepted(events: list[DispatcherEvent]) -> list[Offer]:
    return [offer for event in events if isinstance(event, Accepted) for offer in event.offers]


def pid_that_served(client: socket.socket, payload: bytes) -> int:
    client.settimeout(TIMEOUT_S)
    pid, answer = client.recv(100).split(b":")
    assert answer == payload
    return int(pid)


@pytest.mark.requirement("A42")
@pytest.mark.requirement("A59")
def test_a_thousand_connections_reach_two_processes() -> None:
    dispatcher = Dispatcher(DispatcherSettings(), Metrics())
    with clients(1000) as items, worker("serve") as (a, first), worker("serve") as (b, second):
        dispatcher.attach(a, 0.0)
        dispatcher.attach(b, 0.0)
        while not (a.credit and b.credit):
            run(dispatcher, a, b)
        for number, (_, descriptor) in enumerate(items):
            assert dispatcher.offer(b"%d" % number, descriptor, 0.0) is None
        assert dispatcher.flush(0.0) == []
        done: list[Offer] = []
        while len(done) < len(items):
            done += accepted(run(dispatcher, a, b))
        assert {offer.descriptor for offer in done} == {descriptor for _, descriptor in items}
        pids = [pid_that_served(client, b"%d" % i) for i, (client, _) in enumerate(items)]
        assert set(pids) == {first.pid, second.pid}


@pytest.mark.requirement("A42")
def test_what_a_killed_worker_did_not_acknowledge_goes_to_another() -> None:
    """Ten acknowledgements are in flight, unread, when the worker is killed."""
    dispatcher = Dispatcher(DispatcherSettings(), Metrics())
    with clients(60) as items, worker("accept-then-stop", "10") as (doomed, process):
        dispatcher.attach(doomed, 0.0)
        while doomed.credit == 0:
            run(dispatcher, doomed)
        for number, (_, descriptor) in enumerate(items[:30]):
            assert dispatcher.offer(b"%d" % number, descriptor, 0.0) is None
        dispatcher.flush(0.0)
        assert process.stdout is not None
        assert process.stdout.readline() == "accepted\n"
        for number, (_, descriptor) in enumerate(items[30:], start=30):
            assert dispatcher.offer(b"%d" % number, descriptor, 0.0) is None
        dispatcher.flush(0.0)  # never read: the kernel will report a reset
        process.send_signal(signal.SIGKILL)
        process.wait(TIMEOUT_S)

        with worker("serve") as (source, successor):
            dispatcher.attach(source, 0.0)
            events = run(dispatcher, doomed)
            assert len(accepted(events)) == 10
            assert events[-1] == Detached(doomed, CloseReason.PEER_GONE)
            gone = {offer.descriptor for offer in accepted(events)}
            served: list[Offer] = []
            while len(served) < 50:
                served += accepted(run(dispatcher, source))
            assert gone.isdisjoint(offer.descriptor for offer in served)
            for number, (client, descriptor) in enumerate(items):
                if descriptor not in gone:
                    assert pid_that_served(client, b"%d" % number) == successor.pid


def test_a_worker_sees_the_end_of_its_front() -> None:
    with worker("serve") as (source, process):
        source.close()
        assert process.wait(TIMEOUT_S) == 0
