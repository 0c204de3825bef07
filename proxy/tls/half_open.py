"""``HalfOpen``: one answered TLS 1.3 handshake that waits for the client's Finished, as bytes.

One is held for every client that says nothing more, so it is one packed ``bytes`` object instead
of a dataclass (a third of the size) and keeps secrets and a summary, no messages. What only a reply
needs is derived when it comes: most of a flood never replies.
"""

from struct import Struct
from typing import Final, NamedTuple

from proxy.tls.key_schedule import HandshakeStage, MasterStage
from proxy.tls.suites import PARAMETERS, SuiteParameters
from proxy.wire import NamedGroup

__all__ = ["HalfOpen", "pack"]

# suite, group, name index, records opened, CCS seen, 0-RTT bytes still skipped, sizes of SNI,
# ALPN; then a secret and two hashes, SNI, ALPN, and the start of a message that came
# in pieces.
_HEADER: Final = Struct(">HHHBBHBB")
_GROUPS: Final = {int(group): group for group in NamedGroup}


class HalfOpen(NamedTuple):
    """The unpacked form, for the moment it is worked on."""

    parameters: SuiteParameters
    group: NamedGroup
    name_index: int
    records: int
    ccs: int
    skip: int
    server_name: bytes
    alpn: bytes
    handshake_secret: bytes
    hello_hash: bytes
    flight_hash: bytes
    partial: bytes = b""

    def __repr__(self) -> str:
        return f"HalfOpen({self.parameters.suite.name}, {self.group.name})"

    def client_secret(self) -> bytes:
        """client_handshake_traffic_secret (RFC 8446, Section 7.1)."""
        return self._stage().client_traffic(self.hello_hash)

    def master(self) -> MasterStage:
        """What the application traffic secrets come from."""
        return self._stage().master()

    def _stage(self) -> HandshakeStage:
        return HandshakeStage(self.parameters.hash_name, self.handshake_secret)

    def pack(self) -> bytes:
        """The form that is kept."""
        return pack(*self)

    @classmethod
    def unpack(cls, packed: bytes) -> "HalfOpen":
        """Of our own ``pack``: never of a peer's bytes."""
        suite, group, index, records, ccs, skip, name_size, alpn_size = _HEADER.unpack_from(packed)
        parameters = PARAMETERS[suite]
        size = parameters.hash_size
        start = _HEADER.size
        names = start + 3 * size
        alpn = names + name_size
        return cls(
            parameters,
            _GROUPS[group],
            index,
            records,
            ccs,
            skip,
            packed[names:alpn],
            packed[alpn : alpn + alpn_size],
            packed[start : start + size],
            packed[start + size : start + 2 * size],
            packed[start + 2 * size : names],
            packed[alpn + alpn_size :],
        )


def pack(
    parameters: SuiteParameters,
    group: NamedGroup,
    name_index: int,
    records: int,
    ccs: int,
    skip: int,
    server_name: bytes,
    alpn: bytes,
    handshake_secret: bytes,
    hello_hash: bytes,
    flight_hash: bytes,
    partial: bytes = b"",
) -> bytes:
    """What ``HalfOpen`` of the same packs to, without making one."""
    header = _HEADER.pack(
        parameters.suite,
        group,
        name_index,
        records,
        ccs,
        skip,
        len(server_name),
        len(alpn),
    )
    return b"".join((header, handshake_secret, hello_hash, flight_hash, server_name, alpn, partial))
