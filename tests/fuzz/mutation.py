"""Mutations that know a hello's structure: for the targets `hello` and `second_hello`.

Most byte mutations of a hello only break a length. These change one part and write all lengths
anew, so that what is behind the decoder is reached. libFuzzer's own mutations stay in the mix.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from proxy.tls.key_exchange import SHARE_SIZES
from proxy.wire import CipherSuite, ExtensionType, NamedGroup, SignatureScheme
from tests.fuzz import reading as rfc
from tests.fuzz.reading import ClientReading, Malformed, read_client_hello, rebuilt

__all__ = ["Mutate", "Mutator", "change", "mutator"]

Mutate = Callable[[bytes, int], bytes]
"""libFuzzer's own mutation: data and the longest result."""
Mutator = Callable[[bytes, int, int], bytes]
"""A custom one: data, the longest result, a seed."""

_ROOM: Final = 64
_VALUES: Final[dict[int, tuple[int, ...]]] = {
    10: tuple(NamedGroup),
    13: tuple(SignatureScheme),
    50: tuple(SignatureScheme),
}


def mutator(name: str, mutate: Mutate) -> Mutator:
    """The target's own mutator, around libFuzzer's."""
    change_ = _hello if name == "hello" else _second
    return lambda data, most, seed: change_(data, most, Random(seed), mutate)  # noqa: S311


def _hello(data: bytes, most: int, random: Random, mutate: Mutate) -> bytes:
    """Of records: the first ones' hello is changed and put into records again."""
    message, rest = _message(data)
    if random.random() < 0.3 or not message:
        return mutate(data, most)
    try:
        changed = rebuilt(change(read_client_hello(message), random, mutate))
    except Malformed:
        return mutate(data, most)
    return (_records(changed, random) + rest)[:most]


def _second(data: bytes, most: int, random: Random, mutate: Mutate) -> bytes:
    """Of a byte, a first hello with its length, and a script: one of the two is changed."""
    size = int.from_bytes(data[1:3])
    first, script = data[3 : 3 + size], data[3 + size :]
    try:
        if random.random() < 0.5 or len(data) > most:
            return mutate(data, most)
        if random.random() < 0.5:
            first = rebuilt(change(read_client_hello(first), random, mutate))[:0xFFFF]
        else:
            script = mutate(script or b"\1", max(1, most - size - 3))
    except Malformed:
        return mutate(data, most)
    return (data[:1] + len(first).to_bytes(2) + first + script)[:most]


def _message(data: bytes) -> tuple[bytes, bytes]:
    """The handshake message in the leading records, and what follows."""
    message = b""
    while data[:1] == b"\x16":
        size = 5 + int.from_bytes(data[3:5])
        message += data[5:size]
        data = data[size:]
        if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4]):
            return message, data
    return b"", data


def _records(message: bytes, random: Random) -> bytes:
    """In one record mostly, else in pieces."""
    most = 1 << 14 if random.random() < 0.8 else random.randrange(1, len(message) + 1)
    pieces = [message[at : at + most] for at in range(0, len(message), most)]
    return b"".join(b"\x16\3\3" + len(piece).to_bytes(2) + piece for piece in pieces)


def change(hello: ClientReading, random: Random, mutate: Mutate) -> ClientReading:
    """Change one thing or a few in place."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        random.choice((_content, _content, _list, _shares, _order, _number, _suites, _fixed))(
            hello, random, mutate
        )
    return hello


def _content(hello: ClientReading, random: Random, mutate: Mutate) -> None:
    """Mutate one extension's bytes, whatever they are."""
    if hello.extensions:
        at = random.randrange(len(hello.extensions))
        number, content = hello.extensions[at]
        changed = mutate(content or b"\0", len(content) + _ROOM)
        hello.extensions[at] = (number, changed)


def _list(hello: ClientReading, random: Random, _: Mutate) -> None:
    """A list of numbers: some that we know, in any order, and one that nobody does."""
    number = random.choice(tuple(_VALUES))
    known = [*_VALUES[number], random.randrange(1 << 16)]
    chosen = random.sample(known, random.randrange(len(known) + 1))
    content = b"".join(one.to_bytes(2) for one in chosen)
    _put(hello, number, len(content).to_bytes(2) + content)


def _shares(hello: ClientReading, random: Random, _: Mutate) -> None:
    """Key shares of the right sizes, mostly; their content is no key, mostly."""
    entries = b""
    for group in random.sample(tuple(NamedGroup), random.randrange(4)):
        size = max(1, SHARE_SIZES[group] + random.choice((0, 0, 0, 1, -1)))
        entries += group.to_bytes(2) + size.to_bytes(2) + random.randbytes(size)
    _put(hello, rfc.KEY_SHARE, len(entries).to_bytes(2) + entries)


def _order(hello: ClientReading, random: Random, _: Mutate) -> None:
    """Move one extension, or leave it out."""
    if hello.extensions:
        one = hello.extensions.pop(random.randrange(len(hello.extensions)))
        if random.random() < 0.6:
            hello.extensions.insert(random.randrange(len(hello.extensions) + 1), one)


def _number(hello: ClientReading, random: Random, _: Mutate) -> None:
    """Put some extension's content under another number."""
    contents = [content for _, content in hello.extensions] or [b""]
    number = random.choice((*ExtensionType, random.randrange(1 << 16)))
    at = random.randrange(len(hello.extensions) + 1)
    hello.extensions.insert(at, (number, random.choice(contents)))


def _suites(hello: ClientReading, random: Random, _: Mutate) -> None:
    known = [*CipherSuite, random.randrange(1 << 16)]
    hello.cipher_suites = random.sample(known, random.randrange(1, len(known) + 1))


def _fixed(hello: ClientReading, random: Random, _: Mutate) -> None:
    """What stands before the extensions."""
    match random.randrange(4):
        case 0:
            hello.session_id = random.randbytes(random.choice((0, 1, 32, 33)))
        case 1:
            hello.legacy_version = random.choice((0x0300, 0x0301, 0x0303, 0x0304))
        case 2:
            hello.compression_methods = random.randbytes(random.randrange(3))
        case 3:
            hello.random = random.randbytes(32)


def _put(hello: ClientReading, number: int, content: bytes) -> None:
    """In the place of the extension with this number, or at the end."""
    at = hello.numbers.index(number) if number in hello.numbers else len(hello.extensions)
    hello.extensions[at : at + 1] = [(number, content)]
