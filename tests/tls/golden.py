"""Golden traces of our own flights: every suite, group and kind of certificate.

`python -m tests.tls.golden` writes them anew, one file a suite and group under tests/tls/golden/.
They change only when what goes over the wire is meant to change; the diff is then the review.
Randomness, key agreement and signatures are made up (`FixedEntropy`, `FixedSigner`).
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from proxy.tls import (
    Connection,
    Credential,
    Established,
    Flight,
    Policy,
    Secret,
    ServerName,
    answer,
    encode_context,
    finish,
    retry,
)
from proxy.tls.suites import PARAMETERS
from proxy.wire import (
    CipherSuite,
    ClientHello,
    KeyUpdateRequest,
    NamedGroup,
    SignatureScheme,
    certificate,
    change_cipher_spec_record,
)
from tests.tls.client import Unverified
from tests.tls.hello import Hello, Share
from tests.tls.material import (
    NAME,
    SIGNATURE_SIZES,
    FixedEntropy,
    FixedSigner,
    fixed_secret,
    pseudo_random,
)

__all__ = ["DIRECTORY", "file_name", "trace_file"]

DIRECTORY: Final = Path(__file__).with_name("golden")
ALPN: Final = b"http/1.1"
_CLIENT_SHARE_SIZES: Final = {
    NamedGroup.X25519MLKEM768: 1184 + 32,
    NamedGroup.X25519: 32,
    NamedGroup.SECP256R1: 65,
    NamedGroup.SECP384R1: 97,
}


def file_name(suite: CipherSuite, group: NamedGroup) -> str:
    """Where the traces of the pair are."""
    return f"{suite.name.removeprefix('TLS_').lower()}-{group.name.lower()}.txt"


def trace_file(suite: CipherSuite, group: NamedGroup) -> str:
    """The text of one file."""
    lines = [f"# {suite.name}, {group.name}; written by python -m tests.tls.golden"]
    for scheme in SIGNATURE_SIZES:
        lines += ["", f"[{scheme.name}]"]
        for name, data in _trace(suite, group, scheme):
            lines += [f"{name}:", *textwrap.wrap(data.hex(), 96)]
    return "\n".join(lines) + "\n"


def _hello(suite: CipherSuite, group: NamedGroup) -> Hello:
    share = Share(
        group,
        pseudo_random(f"client share {group.name}", _CLIENT_SHARE_SIZES[group]),
        lambda _: fixed_secret(group),
    )
    return Hello(
        session_id=pseudo_random("session id", 32),
        suites=[suite],
        groups=[group],
        shares=[share],
        alpn=[ALPN],
    )


def _trace(
    suite: CipherSuite, group: NamedGroup, scheme: SignatureScheme
) -> Iterator[tuple[str, bytes]]:
    message = certificate([pseudo_random(f"certificate {scheme.name}", 96)])
    credential = Credential(message, FixedSigner(scheme), frozenset())
    policy = Policy(names={NAME: ServerName(7, (credential,), (ALPN,))})
    client = Unverified(_hello(suite, group))
    yield "client hello", client.start()
    decoded = ClientHello.decode(client.hello.encode())
    cookie_key = Secret(pseudo_random("cookie key", 32))
    yield "retry", retry(decoded, PARAMETERS[suite], group, cookie_key, b"connection", 1.5)
    flight = answer(decoded, policy, FixedEntropy())
    assert isinstance(flight, Flight)
    yield "flight", flight.data
    yield "half open", flight.half_open
    client.receive(flight.data)
    reply = change_cipher_spec_record() + client.finish() + client.send(b"request")
    yield "reply", reply
    context = finish(flight.half_open, reply)
    assert isinstance(context, Established)
    yield "established", encode_context(context)
    connection = Connection(context)
    connection.receive(client.key_update(KeyUpdateRequest.UPDATE_REQUESTED))
    yield "response", bytes(connection.send(b"response"))
    yield "close", connection.close()


def main() -> None:
    """Write every file."""
    DIRECTORY.mkdir(exist_ok=True)
    for suite in CipherSuite:
        for group in NamedGroup:
            (DIRECTORY / file_name(suite, group)).write_text(trace_file(suite, group))


if __name__ == "__main__":
    main()
