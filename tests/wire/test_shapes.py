"""Remembered shapes: a hello decodes the same whether one like it came before or not."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import ClientHello, DecodeError, NamedGroup, u16_vector
from proxy.wire import shapes as module
from proxy.wire.shapes import recall
from tests.tls.hello import Hello, Share, hello
from tests.tls.material import pseudo_random

PSK = bytes.fromhex("000700016100000000" + "0021" + "20" + 32 * "00")
FULL = hello(
    NamedGroup.X25519,
    NamedGroup.SECP256R1,
    session_id=pseudo_random("session id", 32),
    alpn=[b"h2", b"http/1.1"],
    cookie=b"cookie",
    early_data=True,
    extra=[(45, b"\1\1"), (21, bytes(7)), (41, PSK)],
)
HELLOS = {
    "full": FULL,
    "one share": hello(),
    "no share": hello(shares=[]),
    "no session ID": hello(session_id=b""),
    "no key_share": hello(shares=None),
    "nothing": Hello(
        versions=None, groups=None, shares=None, schemes=None, server_name=None, alpn=None
    ),
}


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    module._shapes.clear()
    module._layouts.clear()


def like(made: Hello, label: str) -> Hello:
    """Another hello of the same client."""
    shares = made.shares and [
        Share(one.group, pseudo_random(label, len(one.key_exchange)), one.agree)
        for one in made.shares
    ]
    return replace(
        made,
        random=pseudo_random(f"random {label}", 32),
        session_id=pseudo_random(f"id {label}", len(made.session_id)),
        shares=shares,
        cookie=made.cookie and pseudo_random(f"cookie {label}", len(made.cookie)),
    )


def outcome(message: bytes) -> object:
    """What decoding comes to: the value, or the error's label and alert."""
    try:
        return ClientHello.decode(message)
    except DecodeError as error:
        return error.reason, error.alert


def fresh(message: bytes) -> object:
    """The same where nothing is remembered."""
    forget()
    return outcome(message)


@pytest.mark.parametrize("made", HELLOS.values(), ids=HELLOS.keys())
def test_recalled_is_as_decoded(made: Hello) -> None:
    first, second = (like(made, label).encode() for label in ("first", "second"))
    assert first != second
    expected = fresh(second)
    assert isinstance(expected, ClientHello)
    forget()
    ClientHello.decode(first)
    # Otherwise this shows nothing; one without anything that changes is not remembered.
    assert (recall(second) is not None) == bool(expected.changeable)
    assert ClientHello.decode(second) == expected
    assert list(ClientHello.decode(second).extensions) == list(expected.extensions)


@pytest.mark.parametrize(
    "changed",
    [
        replace(FULL, server_name=b"other1.example"),
        replace(FULL, server_name=b"longer.server.example"),
        replace(FULL, suites=FULL.suites[1:]),
        replace(FULL, suites=list(reversed(FULL.suites))),
        replace(FULL, compression=b"\0\1"),
        replace(FULL, session_id=bytes(31)),
        replace(FULL, shares=(FULL.shares or ())[:1]),
        replace(FULL, cookie=b"longer cookie"),
        replace(FULL, extra=FULL.extra[1:]),
    ],
)
def test_another_shape_is_decoded(changed: Hello) -> None:
    ClientHello.decode(FULL.encode())
    message = changed.encode()
    assert recall(message) is None
    primed = outcome(message)
    assert primed == fresh(message)


def test_session_ids_of_two_sizes_in_turn() -> None:
    """The same bytes are repeated, but not at the same places."""
    for size in (32, 0, 32, 0):
        message = hello(session_id=bytes(size), extra=[(21, bytes(7))]).encode()
        primed = outcome(message)
        kept = dict(module._shapes), dict(module._layouts)
        assert primed == fresh(message)
        module._shapes.update(kept[0])
        module._layouts.update(kept[1])


def test_cut_at_the_places_of_another_hello() -> None:
    """What is left of a hello is of a known shape, but the cuts were another's."""
    share = (0x33, u16_vector(b"\0\x1d\0\1x"))
    # Its own header and start are such a share, where one is looked for; then an extension.
    unknown = (0x0005, b"\0\1x" + b"\x11\x11\0\x1d" + bytes(22))
    one = hello(shares=None, extra=[share, unknown]).encode()
    other = hello(shares=None, extra=[unknown, share]).encode()
    ClientHello.decode(one)
    (repeated,) = module._shapes
    ClientHello.decode(other)
    ((_, start, end),) = module._layouts[len(other) << 8]
    cut = start + 4 - 39
    crossed = other[:39] + repeated[:cut] + bytes(end - start - 4) + repeated[cut:]
    decoded = ClientHello.decode(crossed)
    assert 0x1111 in decoded.extensions
    assert decoded == fresh(crossed)


@given(st.data())
def test_any_change_to_a_remembered_hello(data: st.DataObject) -> None:
    message = bytearray(FULL.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(4, len(message) - 1))
        message[index] = data.draw(st.integers(0, 255))
    expected = fresh(bytes(message))
    forget()
    ClientHello.decode(FULL.encode())
    assert outcome(bytes(message)) == expected
    assert outcome(bytes(message)) == expected, "whatever was remembered of it"


def test_malformed_is_not_remembered() -> None:
    malformed = hello(extra=[(0x0A0A, b""), (0x0A0A, b"")]).encode()
    for _ in range(2):
        with pytest.raises(DecodeError, match="duplicate_extension"):
            ClientHello.decode(malformed)
    assert not module._shapes


def test_what_changes_is_checked_every_time() -> None:
    message = hello().encode()
    ClientHello.decode(message)
    # The group's share says a size that is not there.
    share = message.index(b"\0\x33\0\x26") + 4
    wrong = message[: share + 4] + b"\xff\xff" + message[share + 6 :]
    assert recall(wrong) is not None
    with pytest.raises(DecodeError, match="bad_key_share"):
        ClientHello.decode(wrong)


def test_bounded() -> None:
    for number in range(3 * module._SHAPES):
        ClientHello.decode(hello(server_name=b"%d.example" % number).encode())
        ClientHello.decode(hello(server_name=b"a" * (number % 900 + 1)).encode())
        assert len(module._shapes) <= module._SHAPES
        assert len(module._layouts) <= module._SHAPES
    assert module._shapes
    assert max(map(len, module._shapes)) <= module._SHAPE_SIZE


def test_large_and_greasing_hellos_are_not_remembered() -> None:
    ClientHello.decode(hello(extra=[(0x1234, bytes(1024))]).encode())
    ClientHello.decode(hello(suites=[0x1A1A, 0x1301]).encode())
    assert not module._shapes
    assert not module._layouts
    large_share = Share(NamedGroup.X25519MLKEM768, bytes(1216), lambda _: b"")
    ClientHello.decode(hello(shares=[large_share]).encode())
    assert len(module._shapes) == 1, "a key share is no part of the shape"


def test_nothing_of_what_changes_is_kept() -> None:
    """A share, a cookie or a ticket is one client's, and can be as long as a message."""
    large_share = Share(NamedGroup.X25519MLKEM768, bytes(1216), lambda _: b"")
    ClientHello.decode(hello(shares=[large_share], cookie=bytes(9000), early_data=True).encode())
    (shape,) = module._shapes.values()
    changing = {number for number, _, _ in shape.changeable}
    assert len(changing) == 3
    assert all(
        (value is None) == (number in changing) for number, value in shape.extensions.items()
    )


def test_a_hello_without_what_changes_is_not_remembered() -> None:
    starts = [
        ClientHello.decode(hello(session_id=one, shares=None).encode()).extensions_start
        for one in (b"", bytes(32))
    ]
    assert starts[1] - starts[0] == 32
    assert not module._shapes
