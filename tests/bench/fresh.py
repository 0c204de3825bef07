"""What needs servers that have done nothing before: memory, and the cost beside many half-open.

Rules: each number comes from a server started for it, because memory once used stays with a process
and would hide what the next client takes; kernel memory is that of both ends of a connection, since
the clients are on the same machine, and the same for all who are compared.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from proxy.app.bench.figures import log_log_slope
from proxy.app.bench.rotation import BurstFailed, Case
from proxy.app.bench.server import Server
from tests.bench.load import CHROMIUM, SMALL, Hello, Lg
from tests.bench.peers import NAMES, NGINX, Peers, vestibule_name

__all__ = ["GROUPS", "LEVELS", "kernel_bytes", "memory", "portions", "scaling", "slopes"]

Numbers = dict[str, float]

LEVELS = (1000, 2000, 4000, 8000, 15_000, 30_000, 60_000)
"""Half-open clients beside which the cost of a hello is measured."""

_CLIENTS, _PEERS_CLIENTS, _ECHO_CLIENTS = 15_000, 8000, 4000
"""What servers can hold with the templates' limits. A worker, which holds a client after its second
hello, keeps descriptors back for what its clients will need."""
_WARM_UP = 500
_FRONTS = 4
_PER_PROCESS = 15_000
"""Of lg: where the limit of descriptors is 20,000."""
_BURST, _BURSTS = 1000, 3

_SLABS = (
    "TCP",
    "tcp_",
    "sock_",
    "filp",
    "dentry",
    "eventpoll",
    "skbuff",
    "request_sock",
    "kmalloc",
)
"""Where sockets are kept, and what hangs on them. Others' caches would only add noise."""


def kernel_bytes(slabinfo: str) -> int:
    """Memory of active objects for sockets, by the text of /proc/slabinfo."""
    rows = (line.split() for line in slabinfo.splitlines()[2:])
    return sum(int(row[1]) * int(row[3]) for row in rows if row[0].startswith(_SLABS))


def memory(peers: Peers, lg: Lg, answers: Sequence[str]) -> list[Case]:
    """User and kernel memory of a client that is silent after its hello, or after its second."""

    def held(name: str, sent: Hello) -> Numbers:
        with peers.server(name) as server:
            port = server.ports["ecdsa"]
            lg.abandoned_hellos(port, _WARM_UP, sent)
            server.cpu_s()  # waits until it is quiet
            user, kernel = server.private_bytes(), _kernel()
            clients = _PEERS_CLIENTS if name in NAMES else _CLIENTS
            clients = _ECHO_CLIENTS if sent.echo else clients
            with lg.half_open(port, clients, sent) as count:
                server.cpu_s()
                return {
                    "user_bytes": (server.private_bytes() - user) / count,
                    "kernel_bytes": (_kernel() - kernel) / count,
                }

    names = [*NAMES, *(vestibule_name(answer) for answer in answers)]
    kinds = {"memory": SMALL, "memory-browser": Hello(CHROMIUM)}
    cases = [
        Case(key, name, partial(held, name, sent)) for key, sent in kinds.items() for name in names
    ]
    if "retry" in answers:
        again = {"memory-echo": None, "memory-echo-browser": CHROMIUM}
        retry = vestibule_name("retry")
        cases += [
            Case(key, retry, partial(held, retry, Hello(file, echo=True)))
            for key, file in again.items()
        ]
    return cases


def _kernel() -> int:
    try:
        return kernel_bytes(Path("/proc/slabinfo").read_text())
    except PermissionError as error:
        raise BurstFailed("only root sees the kernel's memory") from error


def scaling(
    peers: Peers, lg: Lg, answers: Sequence[str], levels: Sequence[int] = LEVELS
) -> list[Case]:
    """CPU time of a hello beside ever more half-open clients, and how it grows.

    nginx, with nobody half-open, is asked in between: what it grows by is the machine's doing.
    """

    def grown(answer: str) -> Numbers:
        numbers: Numbers = {}
        with (
            peers.vestibule(answer, fronts=_FRONTS) as server,
            peers.server(NGINX) as control,
            contextlib.ExitStack() as clients,
        ):
            held = 0
            for level in levels:
                for count in portions(level - held):
                    held += clients.enter_context(lg.half_open(server.ports["ecdsa"], count))
                numbers |= _beside(lg, server, control, level)
        return numbers | slopes(numbers, levels)

    asked = [answer for answer in answers if answer != "adaptive"]
    return [Case("scaling", vestibule_name(one), partial(grown, one)) for one in asked]


def portions(count: int) -> Iterator[int]:
    """How many clients each process of lg opens."""
    while count > 0:
        yield min(count, _PER_PROCESS)
        count -= _PER_PROCESS


def _beside(lg: Lg, server: Server, control: Server, level: int) -> Numbers:
    lg.abandoned_hellos(server.ports["ecdsa"], _BURST // 2, SMALL)

    def burst(one: Server) -> float:
        port = one.ports["ecdsa"]
        return one.cpu_us_per(lambda: lg.abandoned_hellos(port, _BURST, SMALL))

    pairs = [(burst(control), burst(server)) for _ in range(_BURSTS)]
    return {
        f"control_us_{level}": statistics.median(pair[0] for pair in pairs),
        f"cpu_us_{level}": statistics.median(pair[1] for pair in pairs),
    }


def slopes(numbers: Numbers, levels: Sequence[int]) -> Numbers:
    """How the cost of a hello grows with the level, ours and the idle nginx's."""
    return {
        name: log_log_slope(levels, [numbers[f"{prefix}_us_{level}"] for level in levels])
        for name, prefix in (("slope", "cpu"), ("control_slope", "control"))
    }


GROUPS: dict[str, Callable[[Peers, Lg, Sequence[str]], list[Case]]] = {
    "memory": memory,
    "scaling": scaling,
}
"""By the names of --only."""
