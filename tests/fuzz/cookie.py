"""Target: second hellos that are right but for their cookie, or for when and where it comes.

The input is a byte that chooses the hello and a script of `Step`. Asserted: a cookie redeems
exactly where it is one that was issued to this hello on this connection, under a key that is still
accepted, within its lifetime; every other one is refused as the cookie that it is.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from typing import Final, NamedTuple

from proxy.tls import Reason, Secret, TlsError, redeem, retry
from proxy.tls.defaults import COOKIE_LIFETIME_S
from proxy.wire import CipherSuite, ClientHello, NamedGroup
from tests.fuzz.hello import check_retry
from tests.fuzz.reading import rebuilt
from tests.fuzz.rules import check
from tests.fuzz.scripts import steps
from tests.fuzz.second_hello import Turn, rightful_second
from tests.tls.hello import hello
from tests.tls.material import pseudo_random

__all__ = ["CONNECTIONS", "KEYS", "LIFETIME_MS", "Attempt", "Issue", "Step", "cookie", "issued"]

LIFETIME_MS: Final = int(COOKIE_LIFETIME_S * 1000)
KEYS: Final = tuple(Secret(pseudo_random(f"cookie key {one}", 32)) for one in range(3))
CONNECTIONS: Final = (b"\4" + bytes(12), b"\4" + bytes(11) + b"\1", b"\6" + bytes(36), b"")
_START_MS: Final = 1_000_000
_SHA384: Final = CipherSuite.TLS_AES_256_GCM_SHA384


class Step(IntEnum):
    """What is done to the attempt; the content says with what."""

    XOR = 0
    """16-bit position and value, any number of times, on the cookie."""
    CUT = 1
    """Keep so many bytes of the cookie."""
    APPEND = 2
    """Put the content behind the cookie."""
    REPLACE = 3
    """Take the content as the cookie."""
    FOREIGN = 4
    """Take the cookie of another issue: hello, connection, key, time."""
    CONNECTION = 5
    """Come by the connection with this number; longer content is the connection itself."""
    KEYS = 6
    """The keys that are accepted, a byte each."""
    LATER = 7
    """Milliseconds that pass."""


class Issue(NamedTuple):
    """Which cookie: indices of hello, connection and key, and when in ms behind the start."""

    hello: int = 0
    connection: int = 0
    key: int = 0
    at_ms: int = 0


@dataclass(slots=True)
class Attempt:
    """A second hello on its way; at first everything is right."""

    hello: int = 0
    cookie: bytes = b""
    connection: bytes = CONNECTIONS[0]
    keys: list[int] = field(default_factory=lambda: [0])
    now_ms: int = 0

    def redeems(self) -> bool:
        """Try it, and assert that the outcome is the one that the issued cookies call for."""
        expected, reason = self._expected()
        message = rebuilt(rightful_second(_turn(self.hello), self.cookie))
        try:
            redeem(
                ClientHello.decode(message),
                b"",
                [KEYS[key] for key in self.keys],
                self.connection,
                (_START_MS + self.now_ms) / 1000,
            )
        except TlsError as error:
            assert not expected, check(error)
            assert check(error)[0] in reason
            return False
        assert expected, "redeemed"
        return True

    def _expected(self) -> tuple[bool, tuple[str, ...]]:
        """Whether it should redeem, and the reasons it may be refused for."""
        issue = _ISSUED.get(self.cookie)
        if (
            issue is None
            or CONNECTIONS[issue.connection] != self.connection
            or issue.key not in self.keys
            or self.now_ms - issue.at_ms > LIFETIME_MS
        ):
            return False, (Reason.BAD_COOKIE,)
        return issue.hello == self.hello, (Reason.HELLO_CHANGED, Reason.BAD_KEY_SHARE)


def cookie(data: bytes) -> str:
    """The target; says how it ended."""
    attempt = Attempt(hello=sum(data[:1]) % len(_hellos()))
    attempt.cookie = issued(Issue(attempt.hello))
    for step, content in steps(data[1:], len(Step)):
        _do(attempt, Step(step), content)
    return "redeemed" if attempt.redeems() else "refused"


def _do(attempt: Attempt, step: Step, content: bytes) -> None:
    number = int.from_bytes(content[:4])
    match step:
        case Step.XOR:
            changed = bytearray(attempt.cookie)
            for at in range(0, len(content) - 2 if changed else 0, 3):
                changed[int.from_bytes(content[at : at + 2]) % len(changed)] ^= content[at + 2]
            attempt.cookie = bytes(changed)
        case Step.CUT:
            attempt.cookie = attempt.cookie[:number]
        case Step.APPEND:
            attempt.cookie = (attempt.cookie + content)[:0xFFFF]
        case Step.REPLACE:
            attempt.cookie = content
        case Step.FOREIGN:
            hello_index, connection, key, at = (*content, 0, 0, 0, 0)[:4]
            attempt.cookie = issued(
                Issue(
                    hello_index % len(_hellos()),
                    connection % len(CONNECTIONS),
                    key % len(KEYS),
                    at * 100,
                )
            )
        case Step.CONNECTION if len(content) == 1:
            attempt.connection = CONNECTIONS[number % len(CONNECTIONS)]
        case Step.CONNECTION:
            attempt.connection = content[:255]
        case Step.KEYS:
            attempt.keys = [byte % len(KEYS) for byte in content[:8]]
        case Step.LATER:
            attempt.now_ms += number


_ISSUED: Final[dict[bytes, Issue]] = {}


@cache
def issued(issue: Issue) -> bytes:
    """The cookie of an issue, which is known from now on."""
    turn = _turn(issue.hello)
    data = retry(
        ClientHello.decode(turn.message),
        turn.needed.suite,
        turn.needed.group,
        KEYS[issue.key],
        CONNECTIONS[issue.connection],
        (_START_MS + issue.at_ms) / 1000,
    )
    found = check_retry(data, turn.first, turn.needed)
    _ISSUED[found] = issue
    return found


@cache
def _hellos() -> tuple[bytes, ...]:
    """First hellos: with and without the share, both hashes, one that differs by its random."""
    other = pseudo_random("another client random", 32)
    return (
        hello().encode(),
        hello(random=other).encode(),
        hello(shares=[], session_id=bytes(32)).encode(),
        hello(shares=[], groups=[NamedGroup.SECP384R1]).encode(),
        hello(suites=[_SHA384], alpn=[b"http/1.1"]).encode(),
        hello(shares=[], suites=[_SHA384], early_data=True, extra=[(45, b"\1\1")]).encode(),
    )


@cache
def _turn(index: int) -> Turn:
    return Turn(_hellos()[index])
