"""Mutations of a configuration's lines, and its words: for the target `config`.

Most byte mutations break the syntax. These move lines and exchange values, so that what is behind
the parser is reached. libFuzzer's own mutations, with the words, stay in the mix.
"""

import json
from random import Random
from typing import Final

from proxy.config import schema
from tests.fuzz.mutation import Mutate, Mutator

__all__ = ["dictionary", "mutator"]

# What keys may stand before: every type, every written form, right and wrong.
_TEXTS: Final = tuple(
    b"""null true off 0 1 -1 0.5 1e300 9999999999 "" "a b" [] {} [a] [[]] {a: b} &a [1] *a !!str
    64KiB 1GiB 0KiB auto direct retry adaptive 127.0.0.1:8443 "[::]:8443" unix:x unix: 127.0.0.1:0
    [1.2.3.4] ["127.0.0.1:1"] ["unix:x"] ["10.0.0.0/8"] "https://a" ["https://a:1"] ["https://a/"]
    ["http://[::1]"] example.org *.example.org "*.example.org" ["*.a.b"] "*" /a /a/ // "/ " "/%61"
    /../ app other info json X25519 example.org.pem example.org.key example.org.pem/x /dev/null ../x
    [h2] ["http/1.1"] ["1.2"] [SECP384R1] {backend: app} [{backend: app}] {file: example.org.key}
    {env: HOME} {file: secret} locked.key chain.pem other.pem other.key junk secret nobody
    """.split()
)


def mutator(mutate: Mutate) -> Mutator:
    """The target's own mutator, around libFuzzer's."""
    return lambda data, most, seed: _text(data, most, Random(seed), mutate)  # noqa: S311


def _text(data: bytes, most: int, random: Random, mutate: Mutate) -> bytes:
    """Of a configuration: lines, their depth and their values; the rest stays what it was."""
    lines = data.split(b"\n")
    if random.random() < 0.3 or not data:
        return mutate(data, most)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(lines))
        key, separator, _ = lines[at].partition(b": ")
        match random.randrange(6):
            case 0:
                lines.insert(random.randrange(len(lines) + 1), lines[at])
            case 1 if len(lines) > 1:
                del lines[at]
            case 2:
                depth = b" " * (2 * random.randrange(8))
                lines[at] = depth + lines[at].lstrip()
            case _:
                lines[at] = key + (separator or b": ") + random.choice(_TEXTS)
    return b"\n".join(lines)[:most]


def dictionary() -> str:
    """libFuzzer's dictionary: all keys, and what YAML has besides."""
    words = sorted(
        {*_keys(json.loads(schema())), "direct", "retry", "adaptive", "auto", "example.org.pem"}
    )
    return "".join(f'"{word}"\n' for word in [*words, "- ", ": ", "&a ", "*a", "!!str ", "<<: "])


def _keys(schema_: object) -> set[str]:
    """All property names."""
    if isinstance(schema_, list):
        return set().union(*map(_keys, schema_))
    if not isinstance(schema_, dict):
        return set()
    names = set(schema_.get("properties", ()))
    return names.union(*map(_keys, schema_.values()))
